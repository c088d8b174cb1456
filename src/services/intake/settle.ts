import { OPEN_STATES } from '../../domain/task-state.ts';
import type { Clock } from '../../kernel/clock.ts';
import type { JobOutbox, JobRecord, JobStore, JobTaskStore } from './ports.ts';

interface SettleDependencies {
  store: JobStore;
  tasks: JobTaskStore;
  outbox: JobOutbox;
  clock: Clock;
}

/** Outboxes that are asked at the same time. */
const AT_ONCE = 16;
/** For so long after a pause or a cancel, a dispatcher that was in the middle of a chunk may still hand tasks over. */
export const HAND_OVER_MS = 15_000;

/** Takes a paused job's tasks out of the outboxes: they wait in SQL as `accepted`. */
export async function settlePaused({ tasks, outbox }: SettleDependencies, jobId: string): Promise<void> {
  await perSession(
    (await tasks.openBySession(jobId)).map(({ sessionId }) => sessionId),
    async (sessionId) => {
      await outbox.withdraw(sessionId, jobId);
      await putForgottenBack({ tasks, outbox }, jobId, sessionId, ['queued']);
    },
  );
}

/**
 * What has no end in SQL and is in no outbox becomes `accepted`, which the dispatcher hands over.
 * @returns how many tasks that are
 */
export async function restoreForgotten(
  deps: Pick<SettleDependencies, 'tasks' | 'outbox'>,
  jobId: string,
): Promise<number> {
  let count = 0;
  await perSession(
    (await deps.tasks.openBySession(jobId)).map(({ sessionId }) => sessionId),
    async (sessionId) => {
      count += await putForgottenBack(deps, jobId, sessionId, OPEN_STATES);
    },
  );
  return count;
}

async function putForgottenBack(
  { tasks, outbox }: Pick<SettleDependencies, 'tasks' | 'outbox'>,
  jobId: string,
  sessionId: string,
  states: readonly string[],
): Promise<number> {
  const ids = await forgotten(tasks, outbox, jobId, sessionId, states);
  await tasks.putBack(sessionId, ids);
  return ids.length;
}

/** Takes a cancelled job's tasks out of the outboxes and ends them; what is in flight finishes. */
export async function settleCancelled(
  { store, tasks, outbox, clock }: SettleDependencies,
  job: JobRecord,
): Promise<void> {
  const settling = clock.nowMs() - Date.parse(job.updatedAt) < HAND_OVER_MS;
  // A chunk that was handed over after its rows were ended is open in no row: at first every outbox of the job is
  // asked. Later only those that hold something in flight, which may come back into the queue.
  const sessionIds = settling
    ? await tasks.sessionsOf(job.id)
    : (await tasks.openBySession(job.id)).map(({ sessionId }) => sessionId);
  await perSession(sessionIds, async (sessionId) => {
    if (sessionId === '') return;
    await tasks.cancel(sessionId, await outbox.withdraw(sessionId, job.id));
    await tasks.cancel(sessionId, await forgotten(tasks, outbox, job.id, sessionId, ['accepted', 'queued']));
  });
  if (!settling && (await tasks.openBySession(job.id)).length === 0) await store.stampFinished(job.id);
}

/** Tasks without an end that their outbox knows nothing of. */
async function forgotten(
  tasks: JobTaskStore,
  outbox: JobOutbox,
  jobId: string,
  sessionId: string,
  states: readonly string[],
): Promise<string[]> {
  const ids = await tasks.idsOf(jobId, sessionId, states);
  if (ids.length === 0) return [];
  const known = await outbox.known(sessionId, ids);
  return ids.filter((id) => !known.has(id));
}

async function perSession(
  sessionIds: readonly string[],
  work: (sessionId: string) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < sessionIds.length; at += AT_ONCE) {
    await Promise.all(sessionIds.slice(at, at + AT_ONCE).map(work));
  }
}
