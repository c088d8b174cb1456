import { sql } from 'kysely';
import { isOpen, type TaskState } from '../../domain/task-state.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { NewTask, TaskStore } from '../../services/ledger/ports.ts';
import type { Acceptance } from '../../services/outbox/ports.ts';
import type { Database, DatabaseDialect } from './database.ts';
import { applyEvents } from './task-events.ts';
import { NameSeries } from './task-names.ts';
import {
  type Executor,
  insertTasks,
  keyOf,
  type NewTaskRow,
  selectTasks,
  stateOf,
  toRecord,
} from './task-rows.ts';

/** @param onTold webhooks have something new to tell */
export function createTaskStore(database: Database, clock: Clock, onTold?: () => void): TaskStore {
  const { db, dialect } = database;
  // Tasks that are accepted within one millisecond stay in order.
  let sequence = 0;
  const names = new NameSeries(clock);

  return {
    async accept(tasks) {
      const at = toIso(clock.nowMs());
      const rows = tasks.map((task) => {
        sequence = (sequence + 1) % 2 ** 31;
        return newRow(task, at, sequence);
      });
      const inserted = await insertTasks(db, dialect, rows);
      if (inserted === rows.length) return tasks.map(() => 'open' as const);
      const states = await statesOf(db, dialect, tasks);
      return tasks.map((task): Acceptance => {
        const state = states.get(keyOf(task.sessionId, task.taskId));
        return state === undefined || isOpen(state) ? 'open' : 'ended';
      });
    },

    async apply(events) {
      const at = toIso(clock.nowMs());
      if (await applyEvents(database, names, events, at)) onTold?.();
    },

    async createdAt(sessionId, taskId) {
      const row = await db
        .selectFrom('tasks')
        .select('created_at')
        .where('id', '=', taskId)
        .where('session_id', '=', sessionId)
        .executeTakeFirst();
      return row?.created_at ?? null;
    },

    async stranded(before, limit) {
      const rows = await db
        .selectFrom('tasks')
        .selectAll()
        .where('state', '=', sql.lit('accepted'))
        .where('created_at', '<', before)
        // Tasks of a job are queued by its dispatcher, which knows whether the job is paused.
        .where((e) =>
          e.or([
            e('job_id', 'is', null),
            e.not(e.exists(e.selectFrom('jobs').select('jobs.id').whereRef('jobs.id', '=', 'tasks.job_id'))),
          ]),
        )
        .orderBy('created_at')
        .orderBy('position')
        .limit(limit)
        .execute();
      return rows.map(toRecord);
    },
  };
}

const newRow = (task: NewTask, at: string, position: number): NewTaskRow => ({
  id: task.taskId,
  session_id: task.sessionId,
  job_id: task.jobId,
  position,
  recipient: task.recipient,
  state: 'accepted',
  payload: task.raw,
  media_ref: task.mediaRef,
  created_at: at,
});

async function statesOf(
  executor: Executor,
  dialect: DatabaseDialect,
  tasks: readonly { sessionId: string; taskId: string }[],
): Promise<Map<string, TaskState>> {
  const rows = await selectTasks(executor, dialect, tasks, sql`t.id, t.session_id, t.state`);
  return new Map(rows.map((row) => [keyOf(row.session_id, row.id), stateOf(row.state)]));
}
