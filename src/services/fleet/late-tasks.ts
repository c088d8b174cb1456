import type { Clock } from '../../kernel/clock.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import type { DeletedSessions } from '../sessions/ports.ts';
import type { FleetOutbox } from './ports.ts';

export interface LateTasksDeps {
  deleted: Pick<DeletedSessions, 'add' | 'since'>;
  isDeleted(sessionId: string): Promise<boolean>;
  outbox: Pick<FleetOutbox, 'clear'>;
  clock: Clock;
  log: Logger;
  intervalMs?: number;
}

const INTERVAL_MS = 10_000;
/** By far longer than anybody takes who asked before a session was deleted and queues afterwards. */
const LOOK_BACK_MS = 60_000;
/** Orchestrators that were away may have left something behind. */
const FIRST_LOOK_BACK_MS = 3_600_000;

/**
 * Whoever enqueues may know a little later that the session is deleted, above all at another orchestrator. What was
 * accepted that late gets its end here: it is cancelled like all that was queued at the deletion.
 */
export function createLateTasks(deps: LateTasksDeps): Service {
  const { deleted, outbox, clock, log } = deps;
  let lookBackMs = FIRST_LOOK_BACK_MS;
  return new Loop({
    name: 'late tasks',
    intervalMs: deps.intervalMs ?? INTERVAL_MS,
    clock,
    log,
    run: async (signal) => {
      for (const { sessionId } of await deleted.since(clock.nowMs() - lookBackMs)) {
        signal.throwIfAborted();
        // There may be one of this name again.
        if (!(await deps.isDeleted(sessionId))) continue;
        const count = await outbox.clear(sessionId, 'session_deleted');
        if (count === 0) continue;
        log.info({ sessionId, count }, 'what was queued after the deletion of its session is cancelled');
        await deleted.add(sessionId);
      }
      lookBackMs = LOOK_BACK_MS;
    },
  });
}
