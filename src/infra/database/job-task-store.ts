import { sql } from 'kysely';
import { OPEN_STATES } from '../../domain/task-state.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { JobTaskStore } from '../../services/intake/ports.ts';
import type { Database } from './database.ts';
import { TASK_IS_OPEN } from './open-tasks.ts';
import { tellOfEnded } from './webhook-events.ts';

const IDS_PER_STATEMENT = 1000;

/** The task rows of a job, for what people ask and do. */
export function createJobTaskStore({ db, dialect }: Database, clock: Clock): JobTaskStore {
  const inBatches = async (ids: readonly string[], run: (batch: string[]) => Promise<unknown>) => {
    for (let at = 0; at < ids.length; at += IDS_PER_STATEMENT) {
      await run(ids.slice(at, at + IDS_PER_STATEMENT));
    }
  };

  const countsOf = async (jobIds: readonly string[]) => {
    const counts = new Map<string, Map<string, number>>(jobIds.map((id) => [id, new Map()]));
    if (jobIds.length === 0) return counts;
    const rows = await db
      .selectFrom('tasks')
      .select((e) => ['job_id', 'state', e.fn.countAll<number>().as('count')])
      .where('job_id', 'in', jobIds)
      .groupBy(['job_id', 'state'])
      .execute();
    for (const row of rows) counts.get(row.job_id ?? '')?.set(row.state, Number(row.count));
    return counts;
  };

  return {
    countsOf,
    counts: async (jobId) => (await countsOf([jobId])).get(jobId) ?? new Map(),

    async sentSince(jobId, since) {
      const row = await db
        .selectFrom('tasks')
        .select((e) => e.fn.countAll<number>().as('count'))
        .where('job_id', '=', jobId)
        .where('sent_at', '>=', since)
        .executeTakeFirst();
      return Number(row?.count ?? 0);
    },

    async openBySession(jobId) {
      const rows = await db
        .selectFrom('tasks')
        .select((e) => ['session_id', e.fn.countAll<number>().as('count')])
        .where('job_id', '=', jobId)
        .where('state', 'in', OPEN_STATES)
        .groupBy('session_id')
        .execute();
      return rows.map((row) => ({ sessionId: row.session_id, count: Number(row.count) }));
    },

    async sessionsOf(jobId) {
      const rows = await db
        .selectFrom('tasks')
        .select('session_id')
        .distinct()
        .where('job_id', '=', jobId)
        .execute();
      return rows.map((row) => row.session_id);
    },

    async idsOf(jobId, sessionId, states) {
      const rows = await db
        .selectFrom('tasks')
        .select('id')
        // By session: by job, each session of a large job would be looked for among all of its tasks.
        .where(sql`coalesce(job_id, '')`, '=', jobId)
        .where('session_id', '=', sessionId)
        .where(TASK_IS_OPEN)
        .where('state', 'in', states)
        .orderBy('position')
        .execute();
      return rows.map((row) => row.id);
    },

    async has(jobId, states) {
      const row = await db
        .selectFrom('tasks')
        .select('id')
        .where('job_id', '=', jobId)
        .where('state', 'in', states)
        .limit(1)
        .executeTakeFirst();
      return row !== undefined;
    },

    putBack: (sessionId, taskIds) =>
      inBatches(taskIds, (batch) =>
        db
          .updateTable('tasks')
          .set({ state: 'accepted', queued_at: null })
          .where('session_id', '=', sessionId)
          .where('id', 'in', batch)
          .where('state', 'in', OPEN_STATES)
          .execute(),
      ),

    cancel: (sessionId, taskIds) =>
      inBatches(taskIds, (batch) =>
        db.transaction().execute(async (trx) => {
          const at = toIso(clock.nowMs());
          const ended = await trx
            .updateTable('tasks')
            .set({ state: 'cancelled', reason: 'cancelled', ended_at: at })
            .where('session_id', '=', sessionId)
            .where('id', 'in', batch)
            .where('state', 'in', OPEN_STATES)
            .returning('id as taskId')
            .execute();
          await tellOfEnded(trx, dialect, sessionId, ended, 'cancelled', at);
        }),
      ),

    async failed(jobId) {
      const rows = await db
        .selectFrom('tasks')
        .select(['id', 'session_id'])
        .where('job_id', '=', jobId)
        .where('state', '=', 'failed')
        .where((e) => e.or([e('reason', 'is', null), e('reason', '<>', 'expired')]))
        .orderBy('position')
        .execute();
      return rows.map((row) => ({ taskId: row.id, sessionId: row.session_id }));
    },

    replayed: (sessionId, taskIds) =>
      inBatches(taskIds, (batch) =>
        db
          .updateTable('tasks')
          .set({ state: 'queued', reason: null, attempts: 0, ended_at: null })
          .where('session_id', '=', sessionId)
          .where('id', 'in', batch)
          .where('state', '=', 'failed')
          .execute(),
      ),

    async reassign(moves) {
      await db.transaction().execute(async (tx) => {
        for (const { taskId, from, to } of moves) {
          await tx
            .updateTable('tasks')
            .set({
              session_id: to,
              state: 'accepted',
              reason: null,
              attempts: 0,
              whatsapp_id: null,
              queued_at: null,
              claimed_at: null,
              ended_at: null,
            })
            .where('id', '=', taskId)
            .where('session_id', '=', from)
            .where('state', '=', 'failed')
            .execute();
        }
      });
    },
  };
}
