import { type Kysely, sql } from 'kysely';

/**
 * Each index of `tasks` is paid for at every write of a task: those of jobs hold the tasks of jobs alone, and the
 * one by session only what has no end. Its condition is not `in (…)`, for which SQLite makes a table at each write.
 * A job remembers how far its tasks were handed over, so that not each of its tasks has to be marked.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const name of ['tasks_job', 'tasks_job_sent', 'tasks_session', 'tasks_whatsapp']) {
    await sql`drop index ${sql.ref(name)}`.execute(db);
  }
  await sql`create index tasks_job on tasks (job_id, state, position) where job_id is not null`.execute(db);
  await sql`create index tasks_job_sent on tasks (job_id, sent_at)
    where job_id is not null and sent_at is not null`.execute(db);
  await sql`create index tasks_session on tasks (session_id)
    where state = 'accepted' or state = 'queued' or state = 'claimed'`.execute(db);
  await sql`create index tasks_whatsapp on tasks (whatsapp_id) where whatsapp_id is not null`.execute(db);
  await db.schema
    .alterTable('jobs')
    .addColumn('handed_over', 'integer', (c) => c.notNull().defaultTo(0))
    .execute();
  await sql`update jobs set handed_over = expanded`.execute(db);
}
