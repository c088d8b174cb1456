import type { Redis } from 'ioredis';
import { otherSpellings, parseProxy } from '../../domain/proxy.ts';
import type {
  AllocationRefusal,
  AllocationRequest,
  AllocationResult,
  Binding,
  BindingRegistry,
  ReleaseOptions,
} from '../../services/allocation/ports.ts';
import { type Caps, inventoryKeys } from './inventory-keys.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

const flag = (value: boolean | undefined): string => (value ? '1' : '');

/** The bindings in Redis: one Lua script per operation, so that no cap is exceeded for an instant. */
export class RedisBindingRegistry implements BindingRegistry {
  readonly #redis: Redis;
  readonly #scripts: ScriptRunner;
  readonly #caps: Caps;

  constructor({ redis, scripts, caps }: { redis: Redis; scripts: ScriptRunner; caps: Caps }) {
    this.#redis = redis;
    this.#scripts = scripts;
    this.#caps = caps;
  }

  async allocate(request: AllocationRequest): Promise<AllocationResult> {
    const { sessionsPerProxy, sessionsPerPhone } = this.#caps;
    const [outcome, value] = (await this.#run('allocate', [
      request.sessionId,
      request.phone ?? '',
      request.profile ?? '',
      request.pinnedProxy === null ? '' : await this.#spelledInPool(request.pinnedProxy),
      flag(request.direct),
      sessionsPerProxy,
      sessionsPerPhone,
    ])) as ['bound' | 'created' | 'refused', string];
    if (outcome === 'refused') return { ok: false, code: value as AllocationRefusal };
    return { ok: true, binding: bindingOf(request.sessionId, value), created: outcome === 'created' };
  }

  async release(sessionId: string, options: ReleaseOptions): Promise<Binding | null> {
    const places = [...inventoryKeys, keys.runnerLeader];
    const raw = await this.#scripts.run('release', places, [
      sessionId,
      flag(options.keepProfile),
      flag(options.holdProfile),
      this.#caps.sessionsPerProxy,
      options.fence ?? '',
    ]);
    return typeof raw === 'string' ? bindingOf(sessionId, raw) : null;
  }

  async releaseProfile(sessionId: string, { hold }: { hold: boolean }): Promise<string | null> {
    const profile = await this.#run('profile-release', [sessionId, flag(hold)]);
    return typeof profile === 'string' ? profile : null;
  }

  async assignPhone(
    sessionId: string,
    phone: string,
  ): Promise<'assigned' | 'phone_cap_reached' | 'not_bound'> {
    const outcome = await this.#run('assign-phone', [sessionId, phone, this.#caps.sessionsPerPhone]);
    return outcome === 'unchanged' ? 'assigned' : (outcome as 'assigned' | 'phone_cap_reached' | 'not_bound');
  }

  async binding(sessionId: string): Promise<Binding | null> {
    const raw = await this.#scripts.settled(() => this.#redis.hget(keys.bindings, sessionId));
    return raw === null ? null : bindingOf(sessionId, raw);
  }

  /** Read in pieces: a session that is bound or released meanwhile may or may not be among them. */
  bindings(): Promise<Binding[]> {
    return this.#scripts.settled(() => this.#scan());
  }

  async #scan(): Promise<Binding[]> {
    const found = new Map<string, Binding>();
    let cursor = '0';
    do {
      const [next, fields] = await this.#redis.hscan(keys.bindings, cursor, 'COUNT', 1000);
      for (let at = 0; at + 1 < fields.length; at += 2) {
        const [sessionId, raw] = [fields[at] as string, fields[at + 1] as string];
        found.set(sessionId, bindingOf(sessionId, raw));
      }
      cursor = next;
    } while (cursor !== '0');
    return [...found.values()];
  }

  async nextProfiles(count: number): Promise<string[]> {
    if (count < 1) return [];
    return (await this.#run('profile-next', [Math.min(count, 1000)])) as string[];
  }

  async capacity(): Promise<number> {
    const counts = (await this.#run('inventory-counts', [this.#caps.sessionsPerProxy])) as number[];
    return counts[8] ?? 0;
  }

  /** A profile may name its proxy in another spelling than the pool does. */
  async #spelledInPool(proxy: string): Promise<string> {
    const parsed = parseProxy(proxy);
    const spellings = parsed.ok ? [proxy, ...otherSpellings(proxy, parsed.proxy)] : [proxy];
    const members = await this.#redis.smismember(keys.proxiesAll, ...spellings);
    return spellings[members.indexOf(1)] ?? proxy;
  }

  #run(script: string, args: (string | number)[]): Promise<unknown> {
    return this.#scripts.run(script, inventoryKeys, args);
  }
}

/** @throws SyntaxError when somebody else has written there */
export function bindingOf(sessionId: string, raw: string): Binding {
  const { phone, proxy, profile } = JSON.parse(raw) as Omit<Binding, 'sessionId'>;
  return { sessionId, phone: phone ?? null, proxy: proxy ?? null, profile: profile ?? null };
}
