import type { Redis } from 'ioredis';
import type { Clock } from '../../kernel/clock.ts';
import { unavailable } from '../../kernel/errors.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import type { RoomForTasks } from '../../services/outbox/ports.ts';
import { keys } from './keys.ts';

export interface MemoryGuardOptions {
  redis: Redis;
  clock: Clock;
  log: Logger;
  /** The part of `maxmemory` up to which tasks are taken in. */
  share?: number;
  /** So many entries of the ledger stream may SQL be behind. */
  behind?: number;
  /** Between two looks. */
  everyMs?: number;
}

/** At some 150 bytes each. */
const BEHIND = 500_000;

/**
 * Keeps new tasks out of a Redis that is nearly full, so that what it holds can still be handed out and ended, and
 * out of one in which SQL follows too slowly: what has happened is kept there until SQL has heard it.
 * It looks by itself: if it looked when it is asked, the first enqueue after a silence would be told what was true
 * before. A server without `maxmemory` has always room.
 */
export class MemoryGuard implements RoomForTasks, Service {
  readonly #options: MemoryGuardOptions;
  readonly #loop: Loop;
  #full = false;
  #behind = false;

  constructor(options: MemoryGuardOptions) {
    this.#options = options;
    const { clock, log, everyMs: intervalMs = 500 } = options;
    this.#loop = new Loop({ name: 'room in Redis', intervalMs, clock, log, run: () => this.look() });
  }

  start(): Promise<void> {
    return this.#loop.start();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  assertRoom(): void {
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
