import type { Redis } from 'ioredis';
import { unavailable } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import type { Incarnations } from '../../services/restoration/ports.ts';
import { keys } from './keys.ts';
import { ScriptRunner } from './scripts.ts';

/** Another text after each start of the Redis server that is talked to. */
export async function redisIncarnation(redis: Redis): Promise<string> {
  const info = await redis.info('server');
  const runId = /^run_id:(\S+)/m.exec(info)?.[1];
  if (!runId) throw new Error('Redis does not tell its run id');
  return runId;
}

/** For how long the process that restores may be silent before another one takes over. */
const RESTORER_MS = 10_000;

/**
 * Knows the start of the Redis server whose data can be relied on. A server that was started anew may have lost
 * what it took in last, or all; nothing is decided on its data until it was brought up to what SQL knows, which
 * one process does and marks by the server's run id.
 */
export class IncarnationFence implements Incarnations {
  readonly #redis: Redis;
  readonly #holder: string;
  readonly #scripts: ScriptRunner;
  #settled: string | undefined;
  #checking: Promise<string> | undefined;
  readonly #doubting = new Set<() => void>();

  /**
   * @param place where only one process can be at a time, such as a data directory that is locked: what one restores
   *   there, the one that comes after it carries on at once. Unique per process by default.
   */
  constructor(redis: Redis, place?: string) {
    this.#redis = redis;
    this.#scripts = new ScriptRunner(redis);
    this.#holder = place ?? newId('restorer');
  }

  /** The run id that was found settled last; what is fenced by it finds out by itself when it is outdated. */
  get settled(): string | undefined {
    return this.#settled;
  }

  /**
   * Asks the server.
   * @returns its run id
   * @throws FlotillaError `redis_restoring` while its data cannot be relied on
   */
  check(): Promise<string> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  async unsettled(): Promise<string | null> {
    const { runId, marked } = await this.#ask();
    return marked ? null : runId;
  }

  /** A connection that was made anew, and a script that the server does not know or may not run. */
  onDoubt(listener: () => void): () => void {
    this.#redis.on('ready', listener);
    this.#doubting.add(listener);
    return () => {
      this.#redis.off('ready', listener);
      this.#doubting.delete(listener);
    };
  }

  async lead(): Promise<boolean> {
    return (await this.#scripts.run('lease-hold', [keys.restorer], [this.#holder, RESTORER_MS])) === 1;
  }

  async settle(runId: string): Promise<boolean> {
    const of = [keys.restorer, keys.incarnation];
    if ((await this.#scripts.run('restore-settle', of, [this.#holder, runId])) !== 1) return false;
    await this.#ask();
    return true;
  }

  async rewriteLog(): Promise<void> {
    if (!(await this.#redis.info('persistence')).includes('aof_enabled:1')) return;
    await this.#redis.bgrewriteaof();
  }

  async #check(): Promise<string> {
    const { runId, marked } = await this.#ask();
    if (marked) return runId;
    for (const listener of this.#doubting) listener();
    throw unavailable(
      'redis_restoring',
      'Redis was started anew; what it has lost is being put back. Try again.',
      { retryAfterSeconds: 1 },
    );
  }

  async #ask(): Promise<{ runId: string; marked: boolean }> {
    // The marker first: it names the server that it stands on, so a later one is never taken for it.
    const marker = await this.#redis.get(keys.incarnation);
    const runId = await redisIncarnation(this.#redis);
    const marked = marker === runId;
    this.#settled = marked ? runId : undefined;
    return { runId, marked };
  }
}
