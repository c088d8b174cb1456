import { type Kysely, sql } from 'kysely';

/** Each index of `tasks` is paid for by every task: those that only few rows need hold only those. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`drop index tasks_job_sent`.execute(db);
  await sql`create index tasks_job_sent on tasks (job_id, sent_at) where sent_at is not null`.execute(db);
  await sql`drop index tasks_media`.execute(db);
  await sql`create index tasks_media on tasks (media_ref, state) where media_ref is not null`.execute(db);
}
