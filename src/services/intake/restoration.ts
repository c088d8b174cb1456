import { DISPATCHABLE } from '../../domain/job-state.ts';
import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';
import type { JobOutbox, JobQueue, JobStore, JobTaskStore } from './ports.ts';
import { restoreForgotten } from './settle.ts';

export interface RestorationDependencies {
  store: JobStore;
  tasks: JobTaskStore;
  outbox: JobOutbox;
  queue: JobQueue;
  /** Changes whenever the server that holds the outboxes was started anew. */
  incarnation(): Promise<string>;
  clock: Clock;
  log: Logger;
  /** How long the ledger gets to say what it still knows. */
  settleMs?: number;
}

const SETTLE_MS = 3000;
const PAGE = 200;

/**
 * A Redis that was started anew may have lost what it took in last. SQL has promised those tasks: what it believes
 * to be in an outbox, and the outbox does not know, is handed over again.
 * @returns one pass; per incarnation of the server, also the first that this process sees, it does something until
 *   nothing is missing
 */
export function createRestoration(deps: RestorationDependencies): (signal: AbortSignal) => Promise<void> {
  const settleMs = deps.settleMs ?? SETTLE_MS;
  let restored: string | undefined;
  let seen: string | undefined;
  let seenAtMs = 0;

  return async (signal) => {
    const incarnation = await deps.incarnation();
    if (incarnation === restored) return;
    if (incarnation !== seen) {
      seen = incarnation;
      seenAtMs = deps.clock.monotonicMs();
    }
    if (deps.clock.monotonicMs() - seenAtMs < settleMs) return;
    let missing = 0;
    for (let after = ''; ; ) {
      const page = await deps.store.inStates(DISPATCHABLE, after, PAGE);
      for (const job of page) {
        signal.throwIfAborted();
        const tasks = await restoreForgotten(deps, job.id);
        if (tasks === 0) continue;
        missing += tasks;
        deps.log.warn(
          { jobId: job.id, tasks },
          'tasks were missing from their outboxes; they are queued again',
        );
        await deps.queue.hurry(job.id);
      }
      const last = page.at(-1);
      if (!last || page.length < PAGE) break;
      after = last.id;
    }
    // A run that was under way may have passed over what was put back: only a pass that finds nothing is the last.
    if (missing === 0) restored = incarnation;
  };
}
