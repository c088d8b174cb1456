import type { Kysely } from 'kysely';

/** Which session a request with an idempotency key has made; it goes with the session. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('session_requests')
    .addColumn('idempotency_key', 'text', (c) => c.primaryKey())
    .addColumn('digest', 'text', (c) => c.notNull())
    .addColumn('session_id', 'text', (c) => c.notNull().unique())
    .execute();
}
