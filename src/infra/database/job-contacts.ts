import type { Kysely } from 'kysely';
import type { Contact } from '../../protocol/messages.ts';
import type { Schema } from './schema.ts';

/** Contacts of a job from a position on, in order: those of at most `slices` stored slices. */
export async function readContacts(
  db: Kysely<Schema>,
  jobId: string,
  from: number,
  slices: number,
): Promise<Contact[]> {
  const rows = await db
    .selectFrom('job_contacts')
    .select(['first', 'contacts'])
    .where('job_id', '=', jobId)
    .where('first', '>=', (e) =>
      e
        .selectFrom('job_contacts')
        .select((of) => of.fn.max('first').as('first'))
        .where('job_id', '=', jobId)
        .where('first', '<=', from),
    )
    .orderBy('first')
    .limit(slices)
    .execute();
  return rows.flatMap((slice) =>
    (JSON.parse(slice.contacts) as Contact[]).slice(Math.max(0, from - slice.first)),
  );
}
