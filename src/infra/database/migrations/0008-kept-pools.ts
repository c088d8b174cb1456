import { type Kysely, sql } from 'kysely';

/** What has been uploaded, who has had a profile, and what is on dead lists: for a Redis that has lost it. */
export async function up(db: Kysely<unknown>, dialect: 'sqlite' | 'postgres'): Promise<void> {
  await db.schema
    .createTable('pool_pieces')
    .$call((table) =>
      dialect === 'sqlite'
        ? table.addColumn('id', 'integer', (c) => c.primaryKey().autoIncrement())
        : table.addColumn('id', 'serial', (c) => c.primaryKey()),
    )
    .addColumn('upload_id', 'text', (c) => c.notNull())
    .addColumn('kind', 'text', (c) => c.notNull())
    .addColumn('state', 'text', (c) => c.notNull())
    .addColumn('sealed', 'text', (c) => c.notNull())
    .addColumn('created_at', 'text', (c) => c.notNull())
    .execute();
  await sql`create index pool_pieces_upload on pool_pieces (upload_id)`.execute(db);
  await db.schema
    .createTable('profile_holders')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('session_id', 'text', (c) => c.notNull())
    .addColumn('after_piece', 'integer', (c) => c.notNull())
    .execute();
  await sql`create index tasks_dead on tasks (session_id, ended_at) where state = 'failed'`.execute(db);
}
