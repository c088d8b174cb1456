import type { Clock } from '../../kernel/clock.ts';
import type { DeletedSessions } from './ports.ts';

const MOST = 20_000;

/** Remembers answers for a while: an enqueue must not cost a look-up. */
export class CachedDeletedSessions implements DeletedSessions {
  readonly #lookUp: (sessionId: string) => Promise<boolean>;
  readonly #clock: Clock;
  readonly #forMs: number;
  readonly #known = new Map<string, { deleted: boolean; untilMs: number }>();

  constructor(lookUp: (sessionId: string) => Promise<boolean>, clock: Clock, forMs = 5000) {
    this.#lookUp = lookUp;
    this.#clock = clock;
    this.#forMs = forMs;
  }

  async isDeleted(sessionId: string): Promise<boolean> {
    const known = this.#known.get(sessionId);
    if (known && known.untilMs > this.#clock.monotonicMs()) return known.deleted;
    const deleted = await this.#lookUp(sessionId);
    if (this.#known.size >= MOST) this.#known.clear();
    this.#known.set(sessionId, { deleted, untilMs: this.#clock.monotonicMs() + this.#forMs });
    return deleted;
  }
}
