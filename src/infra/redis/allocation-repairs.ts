import type { Redis } from 'ioredis';
import { parseProfile } from '../../domain/profile.ts';
import { parseProxy } from '../../domain/proxy.ts';
import type { BindingRegistry, PoolRepairs, Repair } from '../../services/allocation/ports.ts';
import { inventoryKeys } from './inventory-keys.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

/** Members that one script looks at: about 1 ms. */
const CHUNK = 500;
/** Up to so many bindings are recounted by one script at once; more are first looked at from outside. */
const RECOUNT_AT_ONCE = 10_000;

export interface PoolRepairsOptions {
  redis: Redis;
  scripts: ScriptRunner;
  registry: Pick<BindingRegistry, 'bindings'>;
  sessionsPerProxy: number;
  /** For tests. */
  recountAtOnce?: number;
}

/** Repairs in steps that are each one script, so that allocations may run between any two of them. */
export class RedisPoolRepairs implements PoolRepairs {
  readonly #options: PoolRepairsOptions;

  constructor(options: PoolRepairsOptions) {
    this.#options = options;
  }

  /**
   * The recount must see all bindings at one instant. One script does that, and holds Redis up for about 3 µs a
   * binding. A large fleet is therefore read piece by piece first; only if the same difference shows twice is it
   * drift rather than allocations that ran meanwhile, and worth the script.
   */
  async recount(): Promise<Repair[]> {
    const { redis, recountAtOnce = RECOUNT_AT_ONCE } = this.#options;
    if ((await redis.hlen(keys.bindings)) > recountAtOnce) {
      const first = await this.#differences();
      if (first.size === 0) return [];
      const second = await this.#differences();
      if (![...first].some(([fact, by]) => second.get(fact) === by)) return [];
    }
    return repairsOf(await this.#run('reconcile-bindings', [this.#options.sessionsPerProxy]));
  }

  async sizesAgree(): Promise<boolean> {
    return (await this.#run('reconcile-sizes', [this.#options.sessionsPerProxy])) === 1;
  }

  async poolSize(): Promise<number> {
    const { redis } = this.#options;
    const [proxies, profiles] = await Promise.all([
      redis.scard(keys.proxiesAll),
      redis.scard(keys.profilesAvailable),
    ]);
    return proxies + profiles;
  }

  async replace(): Promise<Repair[]> {
    const repairs: Repair[] = [];
    const cap = this.#options.sessionsPerProxy;
    for (const key of [keys.proxiesAll, keys.proxiesAvailable, keys.proxiesBad, keys.proxiesDraining]) {
      for await (const proxies of this.#setMembers(key)) {
        repairs.push(...repairsOf(await this.#run('reconcile-proxies', [cap, ...proxies])));
      }
    }
    for await (const proxies of this.#rankedMembers(keys.proxiesByLoad)) {
      repairs.push(...repairsOf(await this.#run('reconcile-proxies', [cap, ...proxies])));
    }
    for (const key of [keys.profilesAvailable, keys.profilesHeld]) {
      for await (const profiles of this.#setMembers(key)) {
        repairs.push(...repairsOf(await this.#run('reconcile-profiles', profiles)));
      }
    }
    for await (const profiles of this.#rankedMembers(keys.profilesOrder)) {
      repairs.push(...repairsOf(await this.#run('reconcile-profiles', profiles)));
    }
    await this.#refuseUnreadable(repairs);
    await this.#indexProfiles(repairs);
    return repairs;
  }

  /** What another program has added may be no proxy at all: it must not reach a session. */
  async #refuseUnreadable(repairs: Repair[]): Promise<void> {
    for (const { kind, subject } of [...repairs]) {
      if (kind !== 'proxy_place' && kind !== 'proxy_added') continue;
      const parsed = parseProxy(subject);
      if (parsed.ok) continue;
      await this.#run('proxy-bad', [subject, JSON.stringify({ error: parsed.reason })]);
      repairs.push({ kind: 'proxy_unreadable', subject });
    }
  }

  async #indexProfiles(repairs: Repair[]): Promise<void> {
    const added = repairs.flatMap(({ kind, subject }) => {
      if (kind !== 'profile_added' || !subject.startsWith('{')) return [];
      const parsed = parseProfile(subject);
      return parsed.ok ? [parsed.profile.id, subject] : [];
    });
    for (let at = 0; at < added.length; at += CHUNK) {
      await this.#run('reconcile-index', ['add', ...added.slice(at, at + CHUNK)]);
    }
    let cursor = '0';
    do {
      const [next, pairs] = await this.#options.redis.hscan(keys.profileIndex, cursor, 'COUNT', CHUNK);
      if (pairs.length > 0) await this.#run('reconcile-index', ['drop', ...pairs]);
      cursor = next;
    } while (cursor !== '0');
  }

  /** Fact → by how much the stored count is off, read piece by piece. */
  async #differences(): Promise<Map<string, string>> {
    const actual = new Map<string, string>();
    const up = (fact: string) => actual.set(fact, String(Number(actual.get(fact) ?? 0) + 1));
    for (const { sessionId, phone, proxy, profile } of await this.#options.registry.bindings()) {
      if (proxy !== null) up(`proxy ${proxy}`);
      if (phone !== null) up(`phone ${phone}`);
      if (profile !== null) actual.set(`profile ${profile}`, sessionId);
    }
    const stored = new Map<string, string>();
    for await (const [proxy, count] of this.#fields(keys.proxyActiveCount))
      stored.set(`proxy ${proxy}`, count);
    for await (const [phone, count] of this.#fields(keys.phoneActiveCount))
      stored.set(`phone ${phone}`, count);
    for await (const [profile, owner] of this.#fields(keys.profileOwners)) {
      stored.set(`profile ${profile}`, owner);
    }
    for await (const [owner, profile] of this.#fields(keys.profilesKept)) {
      actual.set(`profile ${profile}`, actual.get(`profile ${profile}`) ?? owner);
    }
    const differences = new Map<string, string>();
    for (const fact of new Set([...actual.keys(), ...stored.keys()])) {
      const [is, says] = [actual.get(fact) ?? '', stored.get(fact) ?? ''];
      if (is !== says) differences.set(fact, `${says} for ${is}`);
    }
    return differences;
  }

  async *#setMembers(key: string): AsyncGenerator<string[]> {
    let cursor = '0';
    do {
      const [next, members] = await this.#options.redis.sscan(key, cursor, 'COUNT', CHUNK);
      if (members.length > 0) yield members;
      cursor = next;
    } while (cursor !== '0');
  }

  async *#rankedMembers(key: string): AsyncGenerator<string[]> {
    let cursor = '0';
    do {
      const [next, pairs] = await this.#options.redis.zscan(key, cursor, 'COUNT', CHUNK);
      if (pairs.length > 0) yield pairs.filter((_, index) => index % 2 === 0);
      cursor = next;
    } while (cursor !== '0');
  }

  async *#fields(key: string): AsyncGenerator<[string, string]> {
    let cursor = '0';
    do {
      const [next, pairs] = await this.#options.redis.hscan(key, cursor, 'COUNT', 1000);
      for (let at = 0; at + 1 < pairs.length; at += 2) yield [pairs[at] as string, pairs[at + 1] as string];
      cursor = next;
    } while (cursor !== '0');
  }

  #run(script: string, args: (string | number)[]): Promise<unknown> {
    return this.#options.scripts.run(script, inventoryKeys, args);
  }
}

function repairsOf(reply: unknown): Repair[] {
  const flat = reply as string[];
  const repairs: Repair[] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) {
    repairs.push({ kind: flat[at] as string, subject: flat[at + 1] as string });
  }
  return repairs;
}
