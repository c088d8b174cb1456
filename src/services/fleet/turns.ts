import type { Clock } from '../../kernel/clock.ts';
import { conflict, unavailable } from '../../kernel/errors.ts';
import type { SessionStore } from '../sessions/ports.ts';
import type { WaitingWorkers } from './ports.ts';

const LOOK_EVERY_MS = 50;
/** Below the time that workers give to this request. */
const WAITS_MS = 20_000;

/**
 * Where a worker waits that was prepared to follow another one: it gets no credentials, without which it cannot
 * connect, before its epoch has begun. It is asked for the row in SQL, which a loss of Redis does not change.
 */
export class Turns {
  readonly #deps: { store: Pick<SessionStore, 'find'>; waiting: WaitingWorkers; clock: Clock };

  constructor(deps: { store: Pick<SessionStore, 'find'>; waiting: WaitingWorkers; clock: Clock }) {
    this.#deps = deps;
  }

  /**
   * Resolves when it is the turn of this epoch; at once for a worker that nobody precedes, or without an epoch (0).
   * @throws FlotillaError 409 `stale_epoch` when it is over, 503 `not_your_turn` when it has not come yet: ask again
   */
  async wait(sessionId: string, epoch: number, signal: AbortSignal): Promise<void> {
    const { store, waiting, clock } = this.#deps;
    const deadline = clock.monotonicMs() + WAITS_MS;
    for (let told = false; epoch !== 0; told = true) {
      const session = await store.find(sessionId);
      // Who was never started by the runner follows nobody.
      if (session === null || session.epoch === 0 || epoch === session.epoch) return;
      if (epoch < session.epoch) {
        throw conflict('stale_epoch', 'Another worker owns this session now; stop at once.');
      }
      if (!told) await waiting.arrived(sessionId, epoch);
      if (clock.monotonicMs() > deadline) {
        throw unavailable('not_your_turn', 'Another worker still has this session; ask again.');
      }
      await clock.sleep(LOOK_EVERY_MS, signal);
    }
  }
}
