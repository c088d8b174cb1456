import type { CompiledQuery, Kysely } from 'kysely';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { DispatchStore, Plan, PlannedTask } from '../../services/dispatch/ports.ts';
import type { JobRecord } from '../../services/intake/ports.ts';
import type { Database } from './database.ts';
import { readSlices } from './job-contacts.ts';
import { toRecord } from './job-store.ts';
import { insertPlanned, listOf, namesOf } from './planned-rows.ts';
import { rememberSenders, stickySenders } from './recipient-store.ts';
import type { Schema } from './schema.ts';
import { tellOfEnded, tellOfExpired } from './webhook-events.ts';

/** Slices of contacts that are read at once: some 100 kB. */
const SLICES_PER_READ = 8;

export function createDispatchStore(database: Database, clock: Clock): DispatchStore {
  const { patient: db, dialect } = database;
  const now = (): string => toIso(clock.nowMs());

  const prepare = (
    job: JobRecord,
    plan: Plan,
    expired: boolean,
  ): ((handedOver: number) => Promise<boolean>) => {
    const at = now();
    const { from } = plan;
    const to = from + plan.contacts.length;
    const list = listOf(job, plan);
    const rest = [
      // One that is there already was enqueued by hand under this very id.
      insertPlanned(dialect, list, { job, from, at, expired }).compile(db),
      expired
        ? tellOfExpired(dialect, namesOf(job, plan), job.id, at).compile(db)
        : rememberSenders(dialect, job.tenant, list, at).compile(db),
      ...(to < job.received ? [] : [db.deleteFrom('job_contacts').where('job_id', '=', job.id).compile()]),
    ];
    return (handedOver) => database.fenced([moveCursor(db, job, { from, to, handedOver, at }), ...rest]);
  };

  return {
    async find(jobId) {
      const row = await db.selectFrom('jobs').selectAll().where('id', '=', jobId).executeTakeFirst();
      return row ? toRecord(row) : null;
    },

    slices: (jobId, from) => readSlices(db, jobId, from, SLICES_PER_READ),

    stickySenders: (tenant, recipients) => stickySenders(db, dialect, tenant, recipients),
    prepare: (job, plan) => prepare(job, plan, false),
    // Nothing of it is to be handed over, and all before it has been.
    commitExpired: (job, plan) => prepare(job, plan, true)(plan.from + plan.contacts.length),

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
        // If the outbox did not know it, the ledger tells the time of it.
        .set({ state: 'queued' })
        .where('session_id', '=', sessionId)
        .where('id', 'in', taskIds)
        .where('state', '=', 'accepted')
        .execute();
    },

    async fail(sessionId, taskIds, reason) {
      if (taskIds.length === 0) return;
      const at = now();
      await db.transaction().execute(async (trx) => {
        const ended = await trx
          .updateTable('tasks')
          // Not queued: what was never in an outbox is on no dead list.
          .set({ state: 'failed', reason, queued_at: null, ended_at: at })
          .where('session_id', '=', sessionId)
          .where('id', 'in', taskIds)
          .where('state', 'in', ['accepted', 'queued'])
          .returning('id as taskId')
          .execute();
        await tellOfEnded(trx, dialect, sessionId, ended, 'failed', at);
      });
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
const moveCursor = (
  db: Kysely<Schema>,
  job: JobRecord,
  { from, to, handedOver, at }: { from: number; to: number; handedOver: number; at: string },
): CompiledQuery =>
  db
    .updateTable('jobs')
    .set({ expanded: to, handed_over: handedOver, state: 'running', waiting_for: null, updated_at: at })
    .where('id', '=', job.id)
    .where('expanded', '=', from)
    .where('state', 'in', ['accepted', 'waiting', 'running'])
    .compile();

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
