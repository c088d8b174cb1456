import { Redis } from 'ioredis';
import { expect } from 'vitest';
import { RedisBindingRegistry } from '../../../src/infra/redis/allocation-registry.ts';
import { RedisPoolRepairs } from '../../../src/infra/redis/allocation-repairs.ts';
import type { Caps } from '../../../src/infra/redis/inventory-keys.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import type { AllocationRequest } from '../../../src/services/allocation/ports.ts';
import { startRedis } from '../../helpers/redis.ts';

export interface InventoryHarness {
  redis: Redis;
  scripts: ScriptRunner;
  caps: Caps;
  registry: RedisBindingRegistry;
  repairs: RedisPoolRepairs;
  stop(): Promise<void>;
}

export async function startInventory(
  caps: Caps = { sessionsPerProxy: 4, sessionsPerPhone: 4 },
): Promise<InventoryHarness> {
  const server = await startRedis();
  const redis = new Redis(server.url, { enableAutoPipelining: true });
  const scripts = new ScriptRunner(redis);
  const registry = new RedisBindingRegistry({ redis, scripts, caps });
  const repairs = new RedisPoolRepairs({
    redis,
    scripts,
    registry,
    sessionsPerProxy: caps.sessionsPerProxy,
  });
  return {
    redis,
    scripts,
    caps,
    registry,
    repairs,
    stop: async () => {
      redis.disconnect();
      await server.stop();
    },
  };
}

/** Proxies and profiles as another program would add them, made usable by a reconcile pass. */
export async function seed(
  { redis, repairs }: InventoryHarness,
  { proxies = [], profiles = [] }: { proxies?: string[]; profiles?: string[] },
): Promise<void> {
  if (proxies.length > 0) await redis.sadd(keys.proxiesAll, ...proxies);
  for (const profile of profiles) {
    await redis.sadd(keys.profilesAvailable, profile);
    await repairs.replace();
  }
  await repairs.replace();
}

export const wanting = (sessionId: string, rest: Partial<AllocationRequest> = {}): AllocationRequest => ({
  sessionId,
  phone: null,
  profile: null,
  pinnedProxy: null,
  direct: false,
  ...rest,
});

export const proxyLine = (n: number): string => `http://user:secret@10.0.0.${n}:8080`;

async function counts(redis: Redis, key: string): Promise<Record<string, number>> {
  return Object.fromEntries(Object.entries(await redis.hgetall(key)).map(([k, v]) => [k, Number(v)]));
}

/** Everything that must hold after every step, whatever happened before. */
export async function checkInvariants({ redis, registry, caps }: InventoryHarness): Promise<void> {
  const bindings = await registry.bindings();
  const byProxy: Record<string, number> = {};
  const byPhone: Record<string, number> = {};
  for (const { proxy, phone } of bindings) {
    if (proxy !== null) byProxy[proxy] = (byProxy[proxy] ?? 0) + 1;
    if (phone !== null) byPhone[phone] = (byPhone[phone] ?? 0) + 1;
  }
  expect(await counts(redis, keys.proxyActiveCount)).toEqual(byProxy);
  expect(await counts(redis, keys.phoneActiveCount)).toEqual(byPhone);
  for (const load of Object.values(byProxy)) expect(load).toBeLessThanOrEqual(caps.sessionsPerProxy);
  for (const load of Object.values(byPhone)) expect(load).toBeLessThanOrEqual(caps.sessionsPerPhone);

  const [all, available, bad, draining] = await Promise.all(
    [keys.proxiesAll, keys.proxiesAvailable, keys.proxiesBad, keys.proxiesDraining].map((key) =>
      redis.smembers(key),
    ),
  );
  const fit = (all ?? []).filter(
    (proxy) =>
      !bad?.includes(proxy) && !draining?.includes(proxy) && (byProxy[proxy] ?? 0) < caps.sessionsPerProxy,
  );
  expect(available?.toSorted()).toEqual(fit.toSorted());
  for (const proxy of [...(bad ?? []), ...(draining ?? [])]) expect(all).toContain(proxy);
  for (const proxy of draining ?? []) expect(byProxy[proxy] ?? 0).toBeGreaterThan(0);
  const ranked = await redis.zrange(keys.proxiesByLoad, '0', '-1', 'WITHSCORES');
  const byLoad: Record<string, number> = {};
  for (let at = 0; at < ranked.length; at += 2) byLoad[ranked[at] as string] = Number(ranked[at + 1]);
  expect(byLoad).toEqual(Object.fromEntries(fit.map((proxy) => [proxy, byProxy[proxy] ?? 0])));

  await checkProfiles(redis, bindings);
  const free = fit.reduce((sum, proxy) => sum + caps.sessionsPerProxy - (byProxy[proxy] ?? 0), 0);
  expect(await registry.capacity()).toBe(free);
}

async function checkProfiles(
  redis: Redis,
  bindings: { sessionId: string; profile: string | null }[],
): Promise<void> {
  const available = await redis.smembers(keys.profilesAvailable);
  const used = await redis.smembers(keys.profilesUsed);
  const held = await redis.smembers(keys.profilesHeld);
  expect(available.filter((profile) => used.includes(profile))).toEqual([]);
  const holders: Record<string, string> = {};
  for (const [session, profile] of Object.entries(await redis.hgetall(keys.profilesKept))) {
    holders[profile] = session;
  }
  for (const { sessionId, profile } of bindings) if (profile !== null) holders[profile] = sessionId;
  expect(await redis.hgetall(keys.profileOwners)).toEqual(holders);
  expect(used.toSorted()).toEqual(Object.keys(holders).toSorted());
  const queued = await redis.zrange(keys.profilesOrder, '0', '-1');
  expect(queued.toSorted()).toEqual(available.filter((profile) => !held.includes(profile)).toSorted());
  for (const profile of held) expect(available).toContain(profile);
}
