import type { Kysely, Transaction } from 'kysely';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { Contact } from '../../protocol/messages.ts';
import type { DispatchStore, PlannedRow, PlannedTask } from '../../services/dispatch/ports.ts';
import type { JobRecord } from '../../services/intake/ports.ts';
import type { Database } from './database.ts';
import { toRecord } from './job-store.ts';
import { rememberSenders, stickySenders } from './recipient-store.ts';
import type { Schema } from './schema.ts';
import { insertTasks, type NewTaskRow } from './task-rows.ts';

/** Rows per INSERT statement: below every engine's limit of parameters. */
const ROWS_PER_INSERT = 250;
/** Slices of contacts per chunk. Fewer cost more commits; more keep others from the database for too long. */
const SLICES_PER_CHUNK = 1;

export function createDispatchStore(database: Database, clock: Clock): DispatchStore {
  const { db } = database;
  const now = (): string => toIso(clock.nowMs());

  const commit = (
    job: JobRecord,
    from: number,
    planned: readonly PlannedRow[],
    { expired, handedOver }: { expired: boolean; handedOver: number },
  ) =>
    db.transaction().execute(async (tx) => {
      const at = now();
      // The write comes first: a transaction that begins by reading cannot be upgraded once another has written.
      if (!(await moveCursor(tx, job, { from, to: from + planned.length, handedOver, at }))) return false;
      if (expired) {
        await insertExpired(tx, job, planned, at);
      } else {
        // One that is there already was enqueued by hand under this very id.
        await insertTasks(
          tx,
          database.dialect,
          planned.map((task) => rowOf(job, task, at)),
        );
        await rememberSenders(tx, database.dialect, job.tenant, planned, at);
      }
      if (from + planned.length >= job.received) {
        await tx.deleteFrom('job_contacts').where('job_id', '=', job.id).execute();
      }
      return true;
    });

  return {
    async find(jobId) {
      const row = await db.selectFrom('jobs').selectAll().where('id', '=', jobId).executeTakeFirst();
      return row ? toRecord(row) : null;
    },

    async contacts(jobId, from) {
      const slices = await db
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
        .limit(SLICES_PER_CHUNK)
        .execute();
      return slices.flatMap((slice) =>
        (JSON.parse(slice.contacts) as Contact[]).slice(Math.max(0, from - slice.first)),
      );
    },

    stickySenders: (tenant, recipients) => stickySenders(db, database.dialect, tenant, recipients),
    commit: (job, from, planned, handedOver) => commit(job, from, planned, { expired: false, handedOver }),
    // Nothing of it is to be handed over, and all before it has been.
    commitExpired: (job, from, planned) =>
      commit(job, from, planned, { expired: true, handedOver: from + planned.length }),

    async confirm(jobId, handedOver) {
      await db
        .updateTable('jobs')
        .set({ handed_over: handedOver })
        .where('id', '=', jobId)
        .where('handed_over', '<', handedOver)
        .execute();
    },

    async accepted(job, afterPosition, limit) {
      const pages = await Promise.all([
        openFrom(db, job.id, 'accepted', afterPosition + 1, limit),
        openFrom(db, job.id, 'queued', Math.max(afterPosition + 1, job.handedOver), limit),
      ]);
      return pages
        .flat()
        .sort((a, b) => a.position - b.position)
        .slice(0, limit);
    },

    async handedOver(sessionId, taskIds) {
      if (taskIds.length === 0) return;
      await db
        .updateTable('tasks')
        // The time of it comes with the ledger: it is told by Redis' clock.
        .set({ state: 'queued' })
        .where('session_id', '=', sessionId)
        .where('id', 'in', taskIds)
        .where('state', '=', 'accepted')
        .execute();
    },

    async fail(sessionId, taskIds, reason) {
      if (taskIds.length === 0) return;
      await db
        .updateTable('tasks')
        .set({ state: 'failed', reason, ended_at: now() })
        .where('session_id', '=', sessionId)
        .where('id', 'in', taskIds)
        .where('state', 'in', ['accepted', 'queued'])
        .execute();
    },

    async wait(jobId, waitingFor) {
      await db
        .updateTable('jobs')
        .set({ state: 'waiting', waiting_for: waitingFor, updated_at: now() })
        .where('id', '=', jobId)
        .where('state', 'in', ['accepted', 'waiting', 'running'])
        .execute();
    },

    async running(jobId) {
      await db
        .updateTable('jobs')
        .set({ state: 'running', waiting_for: null, updated_at: now() })
        .where('id', '=', jobId)
        .where('state', 'in', ['accepted', 'waiting'])
        .execute();
    },
  };
}

/** The fence of every chunk: a paused or cancelled job does not move, and two dispatchers cannot both move it. */
async function moveCursor(
  tx: Transaction<Schema>,
  job: JobRecord,
  { from, to, handedOver, at }: { from: number; to: number; handedOver: number; at: string },
): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('jobs')
    .set({ expanded: to, handed_over: handedOver, state: 'running', waiting_for: null, updated_at: at })
    .where('id', '=', job.id)
    .where('expanded', '=', from)
    .where('state', 'in', ['accepted', 'waiting', 'running'])
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

async function openFrom(
  db: Kysely<Schema>,
  jobId: string,
  state: 'accepted' | 'queued',
  position: number,
  limit: number,
): Promise<PlannedTask[]> {
  const rows = await db
    .selectFrom('tasks')
    .select(['id', 'session_id', 'position', 'payload'])
    .where('job_id', '=', jobId)
    .where('state', '=', state)
    .where('position', '>=', position)
    .orderBy('position')
    .limit(limit)
    .execute();
  return rows.map((row) => ({
    taskId: row.id,
    sessionId: row.session_id,
    position: row.position,
    raw: row.payload,
  }));
}

async function insertExpired(
  tx: Transaction<Schema>,
  job: JobRecord,
  planned: readonly PlannedRow[],
  at: string,
): Promise<void> {
  for (let index = 0; index < planned.length; index += ROWS_PER_INSERT) {
    await tx
      .insertInto('tasks')
      .values(
        planned.slice(index, index + ROWS_PER_INSERT).map((task) => ({
          ...rowOf(job, task, at),
          state: 'failed',
          attempts: 0,
          reason: 'expired',
          ended_at: at,
        })),
      )
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

/** Born as queued: the job's `handed_over` says from where on that is not certain yet. */
const rowOf = (job: JobRecord, task: PlannedRow, at: string): NewTaskRow => ({
  id: task.taskId,
  session_id: task.sessionId,
  job_id: job.id,
  position: task.position,
  recipient: task.recipient,
  state: 'queued',
  payload: task.raw,
  media_ref: task.mediaRef,
  created_at: at,
});
