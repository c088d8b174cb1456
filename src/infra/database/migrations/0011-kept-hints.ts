import type { Kysely } from 'kysely';

/** What only Redis knew and is not worth much: for a Redis that has lost it all the same. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('phone_proxies')
    .addColumn('phone', 'text', (c) => c.primaryKey())
    .addColumn('sealed', 'text', (c) => c.notNull())
    .execute();
  await db.schema
    .createTable('outbox_delays')
    .addColumn('session_id', 'text', (c) => c.primaryKey())
    .addColumn('until', 'text', (c) => c.notNull())
    .execute();
}
