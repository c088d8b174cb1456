import { type RawBuilder, sql } from 'kysely';
import { taskIdOfJob } from '../../kernel/ids.ts';
import type { Plan } from '../../services/dispatch/ports.ts';
import { ownPartOf, rawFrameOf } from '../../services/dispatch/raw-frame.ts';
import type { JobRecord } from '../../services/intake/ports.ts';
import type { DatabaseDialect } from './database.ts';
import { jsonSource } from './row-source.ts';

/** Planned rows as they travel to the database: JSON lists of what differs, in the order of `COLUMNS`. */
export type PlannedList = string & { readonly of: unique symbol };

const COLUMNS = { session_id: 'text', recipient: 'text', own: 'text' } as const;

export function listOf(job: JobRecord, { contacts, senders }: Plan): PlannedList {
  const frame = rawFrameOf(job);
  const rows = contacts.map(([phone, name], index) => [senders[index], phone, ownPartOf(frame, name)]);
  return JSON.stringify(rows) as PlannedList;
}

/** The tasks of a plan by what others know them by. */
export function namesOf(
  job: JobRecord,
  { from, contacts, senders }: Plan,
): { taskId: string; sessionId: string; recipient: string }[] {
  return contacts.map(([recipient], index) => ({
    taskId: taskIdOfJob(job.id, from + index),
    sessionId: senders[index] ?? '',
    recipient,
  }));
}

/** For a statement: the table `v` of session, recipient, `own` and `place` within the list. */
export const plannedSource = (dialect: DatabaseDialect, list: PlannedList): RawBuilder<unknown> =>
  jsonSource(dialect, list, COLUMNS);

export interface Birth {
  job: JobRecord;
  /** Position of the first. */
  from: number;
  /** ISO 8601. */
  at: string;
  /** Expired: nobody is to send them. Else queued, since `at`, which equals their `created_at`. */
  expired: boolean;
}

/**
 * Inserts tasks of a job; those that are there already stay as they are. Their ids and raw strings, most of which is
 * the same in all of them, are put together by the database.
 */
export function insertPlanned(
  dialect: DatabaseDialect,
  list: PlannedList,
  { job, from, at, expired }: Birth,
): RawBuilder<unknown> {
  const { idBegin, begin, beforePhone, beforeOwn, end } = rawFrameOf(job);
  const text = (value: string | null) => sql`cast(${value} as text)`;
  return sql`
    insert into tasks (id, session_id, position, recipient, payload, job_id, media_ref, state, reason, created_at,
      queued_at, ended_at)
    select ${text(idBegin)} || v.n, v.session_id, cast(${from} as integer) + v.place, v.recipient,
      ${text(begin)} || v.n || ${text(beforePhone)} || v.recipient || ${text(beforeOwn)} || v.own || ${text(end)},
      ${job.id}, ${job.mediaRef}, ${expired ? 'failed' : 'queued'}, ${expired ? 'expired' : null}, ${at},
      ${expired ? null : at}, ${expired ? at : null}
    from (select v.*, cast(cast(${from} as integer) + v.place as text) as n
      from ${plannedSource(dialect, list)}) as v
    where true
    on conflict do nothing`;
}
