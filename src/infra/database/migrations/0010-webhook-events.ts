import { type Kysely, sql } from 'kysely';

/**
 * What webhooks still have to tell, and what they gave up. Rows come with the fact that they tell, in its
 * transaction, and go when the receiver has them. Both indexes and the one of sessions hold only what is looked for.
 */
export async function up(db: Kysely<unknown>, dialect: 'sqlite' | 'postgres'): Promise<void> {
  await db.schema
    .createTable('webhook_events')
    .$call((table) =>
      dialect === 'sqlite'
        ? table.addColumn('seq', 'integer', (c) => c.primaryKey().autoIncrement())
        : table.addColumn('seq', 'bigserial', (c) => c.primaryKey()),
    )
    .addColumn('session_id', 'text', (c) => c.notNull())
    .addColumn('type', 'text', (c) => c.notNull())
    .addColumn('subject', 'text', (c) => c.notNull())
    .addColumn('at', 'text', (c) => c.notNull())
    .addColumn('data', 'text', (c) => c.notNull())
    .addColumn('queued_at', 'text', (c) => c.notNull())
    .addColumn('attempts', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('not_before', 'text')
    .addColumn('last_error', 'text')
    .addColumn('dead_at', 'text')
    .execute();
  await sql`create index webhook_events_waiting on webhook_events (session_id, seq) where dead_at is null`.execute(
    db,
  );
  await sql`create index webhook_events_dead on webhook_events (session_id, seq) where dead_at is not null`.execute(
    db,
  );
  await sql`create index sessions_webhook on sessions (id) where webhook_url is not null`.execute(db);
}
