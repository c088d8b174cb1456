import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';
import type { Jobs } from './jobs.ts';
import type { JobQueue, JobRecord, JobStore, JobTaskStore, SessionDirectory } from './ports.ts';
import { HAND_OVER_MS } from './settle.ts';

export interface RecoveryDependencies {
  store: JobStore;
  tasks: JobTaskStore;
  sessions: SessionDirectory;
  queue: JobQueue;
  jobs: Pick<Jobs, 'settle'>;
  clock: Clock;
  log: Logger;
}

const PAGE = 200;
/** A job that was touched less than this ago is where it should be: on its way. */
const SETTLED_AFTER_MS = 3000;
/** A task that is `accepted` for longer was not handed over, or Redis has lost it. */
const LOST_AFTER_MS = 30_000;

/**
 * One pass over the jobs that have no end: whatever SQL has promised and the queue has forgotten is brought back,
 * whatever waits for a session that is there by now is woken, whatever has ended is marked so.
 */
export async function recoverJobs(deps: RecoveryDependencies, signal: AbortSignal): Promise<void> {
  const canSend = senderLookup(deps.sessions);
  for (let after = ''; ; ) {
    const page = await deps.store.inStates(['accepted', 'waiting', 'running', 'paused'], after, PAGE);
    const missing: { jobId: string; delayMs: number }[] = [];
    for (const job of page) {
      signal.throwIfAborted();
      const delayMs = await recover(deps, job, canSend);
      if (delayMs !== null) missing.push({ jobId: job.id, delayMs });
    }
    await deps.queue.addAll(missing);
    const last = page.at(-1);
    if (!last || page.length < PAGE) break;
    after = last.id;
  }
  for (const job of await deps.store.unsettled()) {
    signal.throwIfAborted();
    await deps.jobs.settle(job.id);
  }
}

type CanSend = (job: JobRecord) => Promise<boolean>;

/** @returns after how many milliseconds the dispatcher is to come to it, if the queue has forgotten it; null: it need not */
async function recover(deps: RecoveryDependencies, job: JobRecord, canSend: CanSend): Promise<number | null> {
  const now = deps.clock.nowMs();
  const untouchedMs = now - Date.parse(job.updatedAt);
  if (job.state === 'paused') {
    // Handed over at the very moment of the pause, by a process that was killed before it could take it back.
    const late = job.handedOver < job.expanded && untouchedMs > HAND_OVER_MS;
    // Or in flight then, and given back by its worker since.
    if (late || (await deps.tasks.has(job.id, ['queued', 'claimed']))) await deps.jobs.settle(job.id);
    if (late) await deps.store.stampWithdrawn(job.id);
    return null;
  }
  const isExpanded = job.expanded >= job.received;
  if (job.state === 'waiting' && !isExpanded) {
    const due = job.notBefore === null || Date.parse(job.notBefore) <= now;
    const expired = job.expiresAt !== null && Date.parse(job.expiresAt) <= now;
    if (expired || (due && (await canSend(job)))) {
      await deps.queue.hurry(job.id);
      return null;
    }
  }
  if (!isExpanded) {
    const delayMs = job.notBefore === null ? 0 : Date.parse(job.notBefore) - now;
    return untouchedMs > SETTLED_AFTER_MS ? Math.max(0, delayMs) : null;
  }
  if (await deps.store.finishIfEnded(job.id)) return null;
  if (untouchedMs < LOST_AFTER_MS) return null;
  const handedOver = job.handedOver >= job.expanded && !(await deps.tasks.has(job.id, ['accepted']));
  return handedOver ? null : 0;
}

/** Many jobs wait for the same tenant: each is asked about once a pass. */
function senderLookup(sessions: SessionDirectory): CanSend {
  const answers = new Map<string, Promise<boolean>>();
  const ask = async (job: JobRecord): Promise<boolean> => {
    if (job.sessionId === null) return (await sessions.connected(job.tenant)).length > 0;
    const session = await sessions.find(job.sessionId);
    return session?.wanted === true && session.state === 'connected';
  };
  return (job) => {
    const key = JSON.stringify([job.sessionId, job.tenant]);
    const known = answers.get(key) ?? ask(job);
    answers.set(key, known);
    return known;
  };
}
