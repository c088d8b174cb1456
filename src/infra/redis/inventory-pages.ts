import type { Redis } from 'ioredis';
import type { ProxyFacts, ProxyState } from '../../services/inventory/ports.ts';
import { keys } from './keys.ts';

export interface ProxyPage {
  proxies: ProxyFacts[];
  nextCursor: string | null;
}

/**
 * Pages over the proxies, of which there may be a million. A cursor is the place in Redis' own scan and how many
 * members of that place have been shown. A proxy that is there all the time is on one page at least.
 */
export class ProxyPages {
  readonly #redis: Redis;
  readonly #cap: number;

  constructor(redis: Redis, sessionsPerProxy: number) {
    this.#redis = redis;
    this.#cap = sessionsPerProxy;
  }

  async page({
    state,
    limit,
    cursor,
  }: {
    state?: ProxyState;
    limit: number;
    cursor?: string;
  }): Promise<ProxyPage> {
    let [place, shown] = readCursor(cursor);
    const proxies: ProxyFacts[] = [];
    do {
      const [next, members] = await this.#scan(state, place, limit);
      for (const facts of await this.facts(members.slice(shown))) {
        if (proxies.length === limit) return { proxies, nextCursor: `${place}.${shown}` };
        if (state === undefined || facts.state === state) proxies.push(facts);
        shown += 1;
      }
      [place, shown] = [next, 0];
    } while (place !== '0' && proxies.length < limit);
    return { proxies, nextCursor: place === '0' ? null : `${place}.0` };
  }

  /** @returns the members of the smallest place that holds all proxies of the state, and the next cursor */
  async #scan(state: ProxyState | undefined, place: string, limit: number): Promise<[string, string[]]> {
    // A full proxy carries sessions, and that hash is far smaller than the pool.
    if (state === 'full') {
      const [next, pairs] = await this.#redis.hscan(keys.proxyActiveCount, place, 'COUNT', limit);
      const lines = pairs.filter((_, index) => index % 2 === 0);
      if (lines.length === 0) return [next, []];
      const inPool = await this.#redis.smismember(keys.proxiesAll, ...lines);
      return [next, lines.filter((_, index) => inPool[index] === 1)];
    }
    const key = {
      available: keys.proxiesAvailable,
      bad: keys.proxiesBad,
      draining: keys.proxiesDraining,
      any: keys.proxiesAll,
    }[state ?? 'any'];
    return this.#redis.sscan(key, place, 'COUNT', limit);
  }

  async facts(lines: readonly string[]): Promise<ProxyFacts[]> {
    if (lines.length === 0) return [];
    const [bad, draining, counts, errors] = await Promise.all([
      this.#redis.smismember(keys.proxiesBad, ...lines),
      this.#redis.smismember(keys.proxiesDraining, ...lines),
      this.#redis.hmget(keys.proxyActiveCount, ...lines),
      this.#redis.hmget(keys.proxyErrors, ...lines),
    ]);
    return lines.map((line, index) => {
      const sessions = Number(counts[index] ?? 0);
      const error = errors[index];
      return {
        line,
        sessions,
        state: stateOf(draining[index] === 1, bad[index] === 1, sessions >= this.#cap),
        lastError: error ? (JSON.parse(error) as { error: string; at: string }) : null,
      };
    });
  }
}

function stateOf(draining: boolean, bad: boolean, full: boolean): ProxyState {
  if (draining) return 'draining';
  if (bad) return 'bad';
  return full ? 'full' : 'available';
}

/** A cursor that nobody gave out starts at the beginning. */
function readCursor(cursor: string | undefined): [place: string, shown: number] {
  const match = /^(\d{1,20})\.(\d{1,9})$/.exec(cursor ?? '');
  return match ? [match[1] as string, Number(match[2])] : ['0', 0];
}
