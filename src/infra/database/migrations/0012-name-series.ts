import { type Kysely, sql } from 'kysely';

/**
 * WhatsApp's ids are digests: in one index of all of them each task would write a page of its own. In series of those
 * that came one after the other it writes one of the few pages of the newest series. What is there already is one.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('tasks')
    .addColumn('name_series', 'bigint', (c) => c.notNull().defaultTo(0))
    .execute();
  await sql`drop index tasks_whatsapp`.execute(db);
  await sql`create index tasks_whatsapp on tasks (name_series, whatsapp_id)
    where whatsapp_id is not null`.execute(db);
}
