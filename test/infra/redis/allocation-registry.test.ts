import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import {
  checkInvariants,
  type InventoryHarness,
  proxyLine,
  seed,
  startInventory,
  wanting,
} from './inventory-harness.ts';

let inventory: InventoryHarness;
beforeAll(async () => {
  inventory = await startInventory();
});
afterAll(() => inventory.stop());
beforeEach(() => inventory.redis.flushall());

const PHONE = '972501234567';
const refused = (code: string) => ({ ok: false, code });

test('a session is bound to proxy, phone and profile, and asking again changes nothing', async () => {
  await seed(inventory, { proxies: [proxyLine(1)], profiles: ['p1'] });
  const request = wanting('s1', { phone: PHONE, profile: 'p1' });
  const binding = { sessionId: 's1', phone: PHONE, proxy: proxyLine(1), profile: 'p1' };
  expect(await inventory.registry.allocate(request)).toEqual({ ok: true, binding, created: true });
  expect(await inventory.registry.allocate(request)).toEqual({ ok: true, binding, created: false });
  expect(await inventory.registry.binding('s1')).toEqual(binding);
  expect(await inventory.redis.hget(keys.phoneStickyProxy, PHONE)).toBe(proxyLine(1));
  expect(await inventory.redis.smembers(keys.profilesUsed)).toEqual(['p1']);
  await checkInvariants(inventory);
});

test('twenty at once on four proxies: sixteen are bound, four to each, the rest refused', async () => {
  await seed(inventory, { proxies: [1, 2, 3, 4].map(proxyLine) });
  const results = await Promise.all(
    Array.from({ length: 20 }, (_, n) => inventory.registry.allocate(wanting(`s${n}`))),
  );
  expect(results.filter((result) => result.ok)).toHaveLength(16);
  expect(results.filter((result) => !result.ok)).toEqual(Array(4).fill(refused('no_proxy_available')));
  expect(Object.values(await inventory.redis.hgetall(keys.proxyActiveCount))).toEqual(['4', '4', '4', '4']);
  expect(await inventory.redis.scard(keys.proxiesAvailable)).toBe(0);
  await checkInvariants(inventory);
});

test('the least loaded proxy is taken', async () => {
  await seed(inventory, { proxies: [1, 2, 3].map(proxyLine) });
  for (let n = 0; n < 6; n++) await inventory.registry.allocate(wanting(`s${n}`));
  expect(Object.values(await inventory.redis.hgetall(keys.proxyActiveCount))).toEqual(['2', '2', '2']);
});

test('a phone goes back to its proxy, unless that is bad or full', async () => {
  await seed(inventory, { proxies: [1, 2].map(proxyLine) });
  const take = async (sessionId: string, phone: string | null = null) => {
    const result = await inventory.registry.allocate(wanting(sessionId, { phone }));
    return result.ok ? result.binding.proxy : result.code;
  };
  const first = (await take('s1', PHONE)) as string;
  const other = first === proxyLine(1) ? proxyLine(2) : proxyLine(1);
  await inventory.registry.release('s1', { keepProfile: false });
  expect(await take('x1')).not.toBeNull();
  expect(await take('s2', PHONE)).toBe(first);
  expect(await take('s3', PHONE)).toBe(first);

  await inventory.scripts.run('proxy-bad', await inventoryKeyList(), [first, '']);
  expect(await take('s4', PHONE)).toBe(other);
  await checkInvariants(inventory);
});

test('a pinned proxy comes before the sticky one, and is left out when it has no room', async () => {
  await seed(inventory, { proxies: [1, 2].map(proxyLine) });
  await inventory.redis.hset(keys.phoneStickyProxy, PHONE, proxyLine(1));
  for (let n = 0; n < 4; n++) {
    const result = await inventory.registry.allocate(
      wanting(`s${n}`, { phone: PHONE, pinnedProxy: proxyLine(2) }),
    );
    expect(result).toMatchObject({ ok: true, binding: { proxy: proxyLine(2) } });
  }
  const fifth = await inventory.registry.allocate(wanting('s5', { pinnedProxy: proxyLine(2) }));
  expect(fifth).toMatchObject({ ok: true, binding: { proxy: proxyLine(1) } });
  await checkInvariants(inventory);
});

test('a pinned proxy may be spelled otherwise than in the pool', async () => {
  await seed(inventory, { proxies: [1, 2, 3].map(proxyLine) });
  const result = await inventory.registry.allocate(
    wanting('s1', { pinnedProxy: '10.0.0.3:8080:user:secret' }),
  );
  expect(result).toMatchObject({ ok: true, binding: { proxy: proxyLine(3) } });
  const unknown = await inventory.registry.allocate(wanting('s2', { pinnedProxy: 'elsewhere:1' }));
  expect(unknown).toMatchObject({ ok: true });
  await checkInvariants(inventory);
});

test('refusals change nothing', async () => {
  await seed(inventory, { proxies: [proxyLine(1), proxyLine(2)], profiles: ['p1', 'p2'] });
  for (let n = 0; n < 4; n++) await inventory.registry.allocate(wanting(`s${n}`, { phone: PHONE }));
  await inventory.registry.allocate(wanting('owner', { profile: 'p1' }));
  const before = await snapshot();
  const allocate = inventory.registry.allocate.bind(inventory.registry);
  expect(await allocate(wanting('x', { phone: PHONE, profile: 'p2' }))).toEqual(refused('phone_cap_reached'));
  expect(await allocate(wanting('x', { profile: 'p1' }))).toEqual(refused('profile_in_use'));
  expect(await allocate(wanting('x', { profile: 'never seen' }))).toEqual(refused('no_profile_available'));
  expect(await snapshot()).toEqual(before);
  for (let n = 0; n < 3; n++) await allocate(wanting(`f${n}`));
  const full = await snapshot();
  expect(await allocate(wanting('x', { profile: 'p2', phone: '1234567890' }))).toEqual(
    refused('no_proxy_available'),
  );
  expect(await snapshot()).toEqual(full);
  await checkInvariants(inventory);
});

test('a direct session takes no proxy', async () => {
  const result = await inventory.registry.allocate(wanting('s1', { phone: PHONE, direct: true }));
  expect(result).toMatchObject({ ok: true, binding: { proxy: null, phone: PHONE } });
  expect(await inventory.redis.hget(keys.phoneActiveCount, PHONE)).toBe('1');
  expect(await inventory.registry.release('s1', { keepProfile: false })).toMatchObject({ phone: PHONE });
  await checkInvariants(inventory);
});

test('release is the mirror, and does nothing twice', async () => {
  await seed(inventory, { proxies: [proxyLine(1)], profiles: ['p1'] });
  for (let n = 0; n < 3; n++) await inventory.registry.allocate(wanting(`s${n}`));
  await inventory.registry.allocate(wanting('s3', { phone: PHONE, profile: 'p1' }));
  expect(await inventory.redis.scard(keys.proxiesAvailable)).toBe(0);
  const released = await Promise.all(
    Array.from({ length: 5 }, () => inventory.registry.release('s3', { keepProfile: false })),
  );
  expect(released.filter((binding) => binding !== null)).toHaveLength(1);
  expect(await inventory.redis.hget(keys.proxyActiveCount, proxyLine(1))).toBe('3');
  expect(await inventory.redis.hget(keys.phoneActiveCount, PHONE)).toBeNull();
  expect(await inventory.redis.smembers(keys.profilesAvailable)).toEqual(['p1']);
  expect(await inventory.redis.smembers(keys.proxiesAvailable)).toEqual([proxyLine(1)]);
  await checkInvariants(inventory);
});

test('a stopped session keeps its profile; nobody else gets it; deleting it gives it back or puts it aside', async () => {
  await seed(inventory, { proxies: [proxyLine(1)], profiles: ['p1', 'p2'] });
  const { registry } = inventory;
  await registry.allocate(wanting('s1', { profile: 'p1' }));
  await registry.release('s1', { keepProfile: true });
  await checkInvariants(inventory);
  expect(await registry.allocate(wanting('s2', { profile: 'p1' }))).toEqual(refused('profile_in_use'));
  expect(await registry.allocate(wanting('s1', { profile: 'p1' }))).toMatchObject({ ok: true });
  await registry.release('s1', { keepProfile: true });
  expect(await registry.releaseProfile('s1', { hold: true })).toBe('p1');
  expect(await registry.releaseProfile('s1', { hold: true })).toBeNull();
  await checkInvariants(inventory);
  expect(await registry.nextProfiles(10)).toEqual(['p2']);
  expect(await inventory.redis.smembers(keys.profilesHeld)).toEqual(['p1']);
  // Named by a person, it is taken all the same.
  expect(await registry.allocate(wanting('s3', { profile: 'p1' }))).toMatchObject({ ok: true });
  await registry.release('s3', { keepProfile: false });
  expect(await registry.nextProfiles(10)).toEqual(['p2', 'p1']);
  await checkInvariants(inventory);
});

test('release of a session that is stopped already gives its kept profile back', async () => {
  await seed(inventory, { proxies: [proxyLine(1)], profiles: ['p1'] });
  await inventory.registry.allocate(wanting('s1', { profile: 'p1' }));
  await inventory.registry.release('s1', { keepProfile: true });
  expect(await inventory.registry.release('s1', { keepProfile: false })).toBeNull();
  expect(await inventory.registry.nextProfiles(1)).toEqual(['p1']);
  await checkInvariants(inventory);
});

test('a phone learned later counts from then on, up to the cap', async () => {
  await seed(inventory, { proxies: [1, 2].map(proxyLine) });
  const { registry } = inventory;
  expect(await registry.assignPhone('nobody', PHONE)).toBe('not_bound');
  for (let n = 0; n < 6; n++) await registry.allocate(wanting(`s${n}`));
  const outcomes = await Promise.all(
    Array.from({ length: 6 }, (_, n) => registry.assignPhone(`s${n}`, PHONE)),
  );
  expect(outcomes.filter((outcome) => outcome === 'assigned')).toHaveLength(4);
  expect(outcomes.filter((outcome) => outcome === 'phone_cap_reached')).toHaveLength(2);
  expect(await registry.assignPhone('s0', PHONE)).toBe('assigned');
  expect(await registry.assignPhone('s0', '1234567890')).toBe('assigned');
  expect(await inventory.redis.hgetall(keys.phoneActiveCount)).toEqual({ [PHONE]: '3', '1234567890': '1' });
  await checkInvariants(inventory);
});

test('profiles come in the order of their upload, and entries that are gone are skipped', async () => {
  await seed(inventory, { profiles: ['z', 'a', 'm', 'b'] });
  await inventory.redis.srem(keys.profilesAvailable, 'a');
  expect(await inventory.registry.nextProfiles(2)).toEqual(['z', 'm']);
  expect(await inventory.registry.nextProfiles(9)).toEqual(['z', 'm', 'b']);
  expect(await inventory.redis.zcard(keys.profilesOrder)).toBe(3);
});

test('a proxy that another program adds to proxies:available alone is used at once when nothing else is free', async () => {
  await inventory.redis.sadd(keys.proxiesAll, proxyLine(1));
  await inventory.redis.sadd(keys.proxiesAvailable, proxyLine(1));
  expect(await inventory.registry.allocate(wanting('s1'))).toMatchObject({
    ok: true,
    binding: { proxy: proxyLine(1) },
  });
  await checkInvariants(inventory);
});

test('a lower cap than before holds for the next allocation', async () => {
  await seed(inventory, { proxies: [proxyLine(1)] });
  for (let n = 0; n < 3; n++) await inventory.registry.allocate(wanting(`s${n}`));
  const { RedisBindingRegistry } = await import('../../../src/infra/redis/allocation-registry.ts');
  const stricter = new RedisBindingRegistry({
    ...inventory,
    caps: { sessionsPerProxy: 2, sessionsPerPhone: 4 },
  });
  expect(await stricter.allocate(wanting('x'))).toEqual(refused('no_proxy_available'));
});

async function inventoryKeyList(): Promise<readonly string[]> {
  return (await import('../../../src/infra/redis/inventory-keys.ts')).inventoryKeys;
}

async function snapshot(): Promise<Record<string, unknown>> {
  const { redis } = inventory;
  const state: Record<string, unknown> = {};
  for (const key of (await redis.keys('*')).sort()) {
    const type = await redis.type(key);
    if (type === 'hash') state[key] = await redis.hgetall(key);
    else if (type === 'set') state[key] = (await redis.smembers(key)).sort();
    else if (type === 'zset') state[key] = await redis.zrange(key, '0', '-1', 'WITHSCORES');
    else state[key] = await redis.get(key);
  }
  return state;
}
