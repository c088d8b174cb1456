import { FlotillaError } from '../../kernel/errors.ts';
import type { JobRecord, SessionDirectory } from '../intake/ports.ts';
import type { QueuedTask } from '../outbox/ports.ts';
import type { DispatchStore, PlannedTask, TaskSink } from './ports.ts';

interface HandOverDependencies {
  store: DispatchStore;
  sessions: SessionDirectory;
  sink: TaskSink;
}

/** Brings planned tasks into the outboxes of their sessions. */
export interface HandOver {
  /**
   * @param bySession those of each session in order
   * @param rows as for `TaskSink.enqueue`
   */
  now(bySession: ReadonlyMap<string, readonly QueuedTask[]>, rows: 'queued' | 'unsure'): Promise<void>;
  /** Rows that were committed by a run that was killed before it had handed them over. */
  again(job: JobRecord, signal: AbortSignal): Promise<void>;
}

const TASKS_AT_ONCE = 500;

/** Can be tried again by another session: see retry-failed. */
const SESSION_GONE = 'session_deleted';

export function createHandOver({ store, sessions, sink }: HandOverDependencies): HandOver {
  const now: HandOver['now'] = async (bySession, rows) => {
    await Promise.all(
      [...bySession].map(async ([sessionId, tasks]) => {
        try {
          await sink.enqueue(sessionId, tasks, rows);
        } catch (error) {
          if (!isSessionGone(error)) throw error;
          await store.fail(sessionId, ids(tasks), SESSION_GONE);
        }
      }),
    );
  };

  /** A session can be deleted between the two runs: its outbox is nobody's. */
  const failForGoneSessions = async (tasks: readonly PlannedTask[]): Promise<Set<string>> => {
    const bySession = Map.groupBy(tasks, ({ sessionId }) => sessionId);
    const existing = await sessions.findMany([...bySession.keys()]);
    const gone = [...bySession].filter(([sessionId]) => !existing.has(sessionId));
    for (const [sessionId, rows] of gone) await store.fail(sessionId, ids(rows), SESSION_GONE);
    return new Set(gone.map(([sessionId]) => sessionId));
  };

  return {
    now,

    async again(job, signal) {
      for (let after = -1; ; ) {
        signal.throwIfAborted();
        const tasks = await store.accepted(job, after, TASKS_AT_ONCE);
        const last = tasks.at(-1);
        if (!last) return;
        const gone = await failForGoneSessions(tasks);
        const left = tasks.filter(({ sessionId }) => !gone.has(sessionId));
        const bySession = Map.groupBy(left, ({ sessionId }) => sessionId);
        await now(bySession, 'unsure');
        // An outbox says nothing of what it had already: without this such rows would be handed over for ever.
        for (const [sessionId, rows] of bySession) {
          await store.handedOver(sessionId, ids(rows));
        }
        after = last.position;
      }
    },
  };
}

const ids = (tasks: readonly QueuedTask[]): string[] => tasks.map(({ taskId }) => taskId);

const isSessionGone = (error: unknown): boolean =>
  error instanceof FlotillaError && error.code === 'session_not_found';
