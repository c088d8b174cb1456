import { sql } from 'kysely';
import { DISPATCHABLE } from '../../domain/job-state.ts';
import type { TaskState } from '../../domain/task-state.ts';
import { toIso } from '../../kernel/clock.ts';
import type { PromiseStore } from '../../services/restoration/ports.ts';
import type { Database } from './database.ts';
import { TASK_IS_OPEN } from './open-tasks.ts';
import { stateOf } from './task-rows.ts';

const IDS_PER_QUERY = 1000;
/** Of each session, the newest. */
const MOST_DEAD = 10_000;
/** As the index `tasks_dead` has it. */
const IS_FAILED = sql<boolean>`tasks.state = 'failed'`;

const isClaimed = ({ state }: { state: string }): boolean => state === 'claimed';

/** What was promised, for a Redis that has lost it. */
export function createPromiseStore({ db }: Pick<Database, 'db'>): PromiseStore {
  const openTasks = () =>
    db.selectFrom('tasks').leftJoin('jobs', 'jobs.id', 'tasks.job_id').where(TASK_IS_OPEN);

  return {
    async sessions() {
      const rows = await openTasks().select('tasks.session_id').distinct().execute();
      return rows.map((row) => row.session_id).filter((id) => id !== '');
    },

    async open(sessionId) {
      const rows = await openTasks()
        .select(['tasks.id', 'tasks.payload', 'tasks.attempts', 'tasks.state'])
        .where('tasks.session_id', '=', sessionId)
        .where((e) =>
          e.or([
            e('jobs.state', 'is', null),
            e('jobs.state', 'in', DISPATCHABLE),
            // In flight when its job was paused or cancelled: what became of it is known to nobody but its worker.
            // The queue hands it out again, or it is withdrawn from there like any other.
            e('tasks.state', '=', 'claimed'),
          ]),
        )
        .orderBy('tasks.created_at')
        .orderBy('tasks.position')
        .execute();
      // What was handed out had come to the head of the queue, also past what was accepted earlier and queued later
      // (because its job was paused meanwhile). Somebody may have it already, and its outcome is waited for.
      const [claimed, rest] = [rows.filter(isClaimed), rows.filter((row) => !isClaimed(row))];
      return [...claimed, ...rest].map((row) => ({
        taskId: row.id,
        raw: row.payload,
        attempts: row.attempts,
      }));
    },

    async states(sessionId, taskIds) {
      const states = new Map<string, TaskState | 'waiting'>();
      for (let at = 0; at < taskIds.length; at += IDS_PER_QUERY) {
        const rows = await db
          .selectFrom('tasks')
          .leftJoin('jobs', 'jobs.id', 'tasks.job_id')
          .select(['tasks.id', 'tasks.state', 'jobs.state as job_state'])
          .where('tasks.session_id', '=', sessionId)
          .where('tasks.id', 'in', taskIds.slice(at, at + IDS_PER_QUERY))
          .execute();
        for (const row of rows) {
          const halted = row.job_state === 'paused' || row.job_state === 'cancelled';
          states.set(row.id, halted && row.state === 'accepted' ? 'waiting' : stateOf(row.state));
        }
      }
      return states;
    },

    async deadSessions() {
      const dead = db.selectFrom('tasks').select('session_id').distinct().where(IS_FAILED);
      return (await dead.execute()).map((row) => row.session_id).filter((id) => id !== '');
    },

    async dead(sessionId) {
      const rows = await db
        .selectFrom('tasks')
        .select(['id', 'payload', 'reason', 'ended_at', 'attempts'])
        .where(IS_FAILED)
        .where('session_id', '=', sessionId)
        // What failed before it came into an outbox was never on the list.
        .where('queued_at', 'is not', null)
        .orderBy('ended_at', 'desc')
        .limit(MOST_DEAD)
        .execute();
      return rows.toReversed().map(({ id, payload, reason, ended_at, attempts }) => ({
        taskId: id,
        raw: payload,
        reason: reason ?? 'permanent',
        atMs: ended_at === null ? 0 : Date.parse(ended_at),
        attempts,
      }));
    },

    async deleted(sinceMs) {
      const rows = await db
        .selectFrom('events')
        .select(['session_id', 'created_at'])
        .where('type', '=', 'session.deleted')
        .where('created_at', '>=', toIso(sinceMs))
        .execute();
      return rows.flatMap(({ session_id, created_at }) =>
        session_id === null ? [] : [{ sessionId: session_id, atMs: Date.parse(created_at) }],
      );
    },

    async epochs() {
      const rows = await db
        .selectFrom('sessions')
        .select(['id', 'epoch'])
        .where('epoch', '>', sql.lit(0))
        .execute();
      return rows.map((row) => ({ sessionId: row.id, epoch: row.epoch }));
    },
  };
}
