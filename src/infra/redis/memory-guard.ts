import type { Redis } from 'ioredis';
import type { Clock } from '../../kernel/clock.ts';
import { unavailable } from '../../kernel/errors.ts';
import type { RoomForTasks } from '../../services/outbox/ports.ts';
import { keys } from './keys.ts';

export interface MemoryGuardOptions {
  redis: Redis;
  clock: Clock;
  /** The part of `maxmemory` up to which tasks are taken in. */
  share?: number;
  /** So many entries of the ledger stream may SQL be behind. */
  behind?: number;
  /** How long one look is good for. */
  everyMs?: number;
}

/** At some 150 bytes each. */
const BEHIND = 500_000;

/**
 * Keeps new tasks out of a Redis that is nearly full, so that what it holds can still be handed out and ended, and
 * out of one in which SQL follows too slowly: what has happened is kept there until SQL has heard it.
 * One look now and then, which nobody waits for; a server without `maxmemory` has always room.
 */
export class MemoryGuard implements RoomForTasks {
  readonly #options: MemoryGuardOptions;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #full = false;
  #behind = false;

  constructor(options: MemoryGuardOptions) {
    this.#options = options;
  }

  assertRoom(): void {
    const { clock, everyMs = 500 } = this.#options;
    const now = clock.monotonicMs();
    if (now - this.#lookedAt >= everyMs) {
      this.#lookedAt = now;
      this.look().catch(() => undefined); // a server that does not answer refuses by itself
    }
    if (this.#full)
      throw unavailable('redis_full', 'Redis is nearly full; nothing is queued until there is room again.');
    if (this.#behind)
      throw unavailable(
        'ledger_behind',
        'The database is far behind; nothing is queued until it has caught up.',
      );
  }

  async look(): Promise<void> {
    const { redis, share = 0.8, behind = BEHIND } = this.#options;
    const [info, entries] = await Promise.all([redis.info('memory'), redis.xlen(keys.ledger)]);
    const used = Number(/^used_memory:(\d+)/m.exec(info)?.[1] ?? 0);
    const most = Number(/^maxmemory:(\d+)/m.exec(info)?.[1] ?? 0);
    this.#full = most > 0 && used >= most * share;
    this.#behind = entries >= behind;
  }
}
