import type { Kysely } from 'kysely';
import type { ContactSlice } from '../../services/intake/contact-slices.ts';
import type { Schema } from './schema.ts';

/** At most `limit` stored slices of a job's contacts, in order; the contact at `from` is in the first. */
export const readSlices = (
  db: Kysely<Schema>,
  jobId: string,
  from: number,
  limit: number,
): Promise<ContactSlice[]> =>
  db
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
    .limit(limit)
    .execute();
