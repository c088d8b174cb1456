import type { Transaction } from 'kysely';
import { canonicalRaw } from '../../domain/task.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { Contact } from '../../protocol/messages.ts';
import type { DispatchStore, DispatchTask, PlannedTask } from '../../services/dispatch/ports.ts';
import type { JobRecord } from '../../services/intake/ports.ts';
import type { Database } from './database.ts';
import { toRecord } from './job-store.ts';
import { rememberSenders, stickySenders } from './recipient-store.ts';
import type { Schema } from './schema.ts';
import { insertTasks, type NewTaskRow } from './task-rows.ts';

/** Rows per INSERT statement: below every engine's limit of parameters. */
const ROWS_PER_INSERT = 250;

export function createDispatchStore(database: Database, clock: Clock): DispatchStore {
  const { db } = database;
  const now = (): string => toIso(clock.nowMs());

  const commit = (job: JobRecord, from: number, planned: readonly PlannedTask[], expired: boolean) =>
    db.transaction().execute(async (tx) => {
      const at = now();
      // The write comes first: a transaction that begins by reading cannot be upgraded once another has written.
      if (!(await moveCursor(tx, job, from, from + planned.length, at))) return false;
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
      const slice = await db
        .selectFrom('job_contacts')
        .select(['first', 'contacts'])
        .where('job_id', '=', jobId)
        .where('first', '<=', from)
        .orderBy('first', 'desc')
        .limit(1)
        .executeTakeFirst();
      return slice ? (JSON.parse(slice.contacts) as Contact[]).slice(from - slice.first) : [];
    },

    stickySenders: (tenant, recipients) => stickySenders(db, database.dialect, tenant, recipients),
    commit: (job, from, planned) => commit(job, from, planned, false),
    commitExpired: (job, from, planned) => commit(job, from, planned, true),

    async accepted(jobId, afterPosition, limit) {
      const rows = await db
        .selectFrom('tasks')
        .select(['session_id', 'position', 'payload'])
        .where('job_id', '=', jobId)
        .where('state', '=', 'accepted')
        .where('position', '>', afterPosition)
        .orderBy('position')
        .limit(limit)
        .execute();
      return rows.map((row) => ({
        sessionId: row.session_id,
        position: row.position,
        task: JSON.parse(row.payload) as DispatchTask,
      }));
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
        .where('state', '=', 'accepted')
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
  from: number,
  to: number,
  at: string,
): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('jobs')
    .set({ expanded: to, state: 'running', waiting_for: null, updated_at: at })
    .where('id', '=', job.id)
    .where('expanded', '=', from)
    .where('state', 'in', ['accepted', 'waiting', 'running'])
    .executeTakeFirst();
  return numUpdatedRows > 0n;
}

async function insertExpired(
  tx: Transaction<Schema>,
  job: JobRecord,
  planned: readonly PlannedTask[],
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

const rowOf = (job: JobRecord, { sessionId, position, task }: PlannedTask, at: string): NewTaskRow => ({
  id: task.taskId,
  session_id: sessionId,
  job_id: job.id,
  position,
  recipient: task.to,
  state: 'accepted',
  payload: canonicalRaw(task),
  media_ref: task.mediaRef ?? null,
  created_at: at,
});
