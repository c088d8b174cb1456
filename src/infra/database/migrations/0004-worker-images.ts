import { type Kysely, sql } from 'kysely';

/** Which image each worker runs from, and how a fleet is brought from one to the next. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema.alterTable('sessions').addColumn('image', 'text').execute();
  await db.schema.alterTable('sessions').addColumn('worker_image', 'text').execute();
  await db.schema
    .alterTable('sessions')
    .addColumn('unwanted_ends', 'integer', (c) => c.notNull().defaultTo(0))
    .execute();

  await db.schema
    .createTable('fleet_image')
    .addColumn('id', 'integer', (c) => c.primaryKey())
    .addColumn('image', 'text', (c) => c.notNull())
    .addColumn('configured', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .execute();

  await db.schema
    .createTable('upgrades')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('image', 'text', (c) => c.notNull())
    .addColumn('from_image', 'text', (c) => c.notNull())
    .addColumn('options', 'text', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('paused_in', 'text')
    .addColumn('reason', 'text')
    .addColumn('active', 'integer')
    .addColumn('watched_ms', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('created_at', 'text', (c) => c.notNull())
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .addColumn('finished_at', 'text')
    .execute();
  // Two at once would undo each other: the second insert fails.
  await sql`create unique index upgrades_active on upgrades (active) where active = 1`.execute(db);

  await db.schema
    .createTable('upgrade_sessions')
    .addColumn('upgrade_id', 'text', (c) => c.notNull())
    .addColumn('session_id', 'text', (c) => c.notNull())
    .addColumn('canary', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('reason', 'text')
    .addColumn('before_image', 'text')
    .addColumn('was_connected', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('epoch_before', 'bigint', (c) => c.notNull().defaultTo(0))
    .addColumn('ends_before', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('failed_before', 'integer', (c) => c.notNull().defaultTo(0))
    .addColumn('updated_at', 'text', (c) => c.notNull())
    .addPrimaryKeyConstraint('upgrade_sessions_pk', ['upgrade_id', 'session_id'])
    .execute();
}
