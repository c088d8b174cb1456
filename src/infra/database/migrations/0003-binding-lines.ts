import type { Kysely } from 'kysely';

/** What a binding holds, in full and encrypted: for a Redis that has lost it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('binding_lines')
    .addColumn('session_id', 'text', (c) => c.primaryKey())
    .addColumn('sealed', 'text', (c) => c.notNull())
    .execute();
}
