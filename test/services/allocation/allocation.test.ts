import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { SqlBindingStore } from '../../../src/infra/database/binding-store.ts';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { type Logger, silentLogger } from '../../../src/kernel/log.ts';
import { AllocationService } from '../../../src/services/allocation/allocation.ts';
import {
  checkInvariants,
  type InventoryHarness,
  proxyLine,
  seed,
  startInventory,
  wanting,
} from '../../infra/redis/inventory-harness.ts';

const PHONE = '972501234567';
let inventory: InventoryHarness;
let database: Database;
let allocation: AllocationService;
let logged: string;

const recording: Logger = {
  ...silentLogger,
  warn: (fields, message) => {
    logged += `${message} ${JSON.stringify(fields)}\n`;
  },
};

beforeAll(async () => {
  inventory = await startInventory();
});
afterAll(() => inventory.stop());
beforeEach(async () => {
  await database?.close();
  database = await openDatabase({ sqlitePath: ':memory:' });
  await inventory.redis.flushall();
  logged = '';
  allocation = new AllocationService({
    ...inventory,
    store: new SqlBindingStore(database.db),
    clock: systemClock,
    log: recording,
  });
});

const rows = () =>
  database.db
    .selectFrom('session_bindings')
    .select(['bot_id', 'phone', 'proxy_ip', 'profile_id', 'status'])
    .orderBy('id')
    .execute();

test('each binding is a row that is kept as history, without credentials', async () => {
  const profile = '{"id":"david","phone":"972501234567"}';
  await seed(inventory, { proxies: [proxyLine(1)], profiles: [profile] });
  await allocation.allocate(wanting('s1', { profile }));
  await allocation.allocate(wanting('s1', { profile }));
  await allocation.assignPhone('s1', PHONE);
  await allocation.release('s1', { keepProfile: true });
  await allocation.release('s1', { keepProfile: true });
  await allocation.allocate(wanting('s1', { profile, phone: PHONE }));
  await allocation.flush();
  const row = { bot_id: 's1', phone: PHONE, proxy_ip: '10.0.0.1:8080', profile_id: 'david' };
  expect(await rows()).toEqual([
    { ...row, status: 'released' },
    { ...row, status: 'active' },
  ]);
  expect(await allocation.reconcile()).toEqual({ repaired: 0 });
});

test('what SQL missed in a crash is written by the next pass', async () => {
  await seed(inventory, { proxies: [proxyLine(1), proxyLine(2)] });
  await allocation.allocate(wanting('gone'));
  await allocation.allocate(wanting('moved'));
  await allocation.flush();
  // Past the service, as if the process had died between Redis and SQL.
  await inventory.registry.release('gone', { keepProfile: false });
  const before = await inventory.registry.release('moved', { keepProfile: false });
  const other = before?.proxy === proxyLine(1) ? proxyLine(2) : proxyLine(1);
  await inventory.registry.allocate(wanting('moved', { pinnedProxy: other }));
  await inventory.registry.allocate(wanting('new', { phone: PHONE }));
  expect(await allocation.reconcile()).toEqual({ repaired: 3 });
  const active = (await rows()).filter((row) => row.status === 'active');
  expect(active.map((row) => row.bot_id).toSorted()).toEqual(['moved', 'new']);
  expect(await rows()).toHaveLength(4);
  expect(await allocation.reconcile()).toEqual({ repaired: 0 });
});

test('two active rows of one session become one', async () => {
  await seed(inventory, { proxies: [proxyLine(1)] });
  await allocation.allocate(wanting('s1'));
  await allocation.flush();
  const stale = { bot_id: 's1', phone: null, proxy_ip: 'old:1', profile_id: null, status: 'active' };
  await database.db
    .insertInto('session_bindings')
    .values({ ...stale, created_at: '2020-01-01', updated_at: '2020-01-01' })
    .execute();
  await allocation.reconcile();
  expect((await rows()).filter((row) => row.status === 'active').map((row) => row.proxy_ip)).toEqual([
    '10.0.0.1:8080',
  ]);
});

test('a database that is down holds no allocation up', async () => {
  await seed(inventory, { proxies: [proxyLine(1)] });
  await database.close();
  expect(await allocation.allocate(wanting('s1'))).toMatchObject({ ok: true, created: true });
  await allocation.flush();
  expect(logged).toContain('audit trail');
  database = await openDatabase({ sqlitePath: ':memory:' });
});

test('drift is repaired, counted, and logged without secrets', async () => {
  await seed(inventory, { proxies: [proxyLine(1), proxyLine(2)], profiles: ['p1'] });
  await allocation.allocate(wanting('s1', { phone: PHONE, profile: 'p1', pinnedProxy: proxyLine(1) }));
  const { redis } = inventory;
  await redis.hset(keys.proxyActiveCount, proxyLine(1), '4');
  await redis.hset(keys.phoneActiveCount, PHONE, '9');
  await redis.srem(keys.proxiesAvailable, proxyLine(2));
  await redis.sadd(keys.profilesAvailable, 'p1');
  const { repaired } = await allocation.reconcile();
  expect(repaired).toBeGreaterThanOrEqual(4);
  await checkInvariants(inventory);
  for (const part of [
    'proxy_count http://10.0.0.1:8080',
    'phone_count …4567',
    'proxy_place http://10.0.0.2:8080',
  ]) {
    expect(logged).toContain(part);
  }
  expect(logged).not.toMatch(/secret|97250/);
});

test('a hand-made profile is found by its id after a pass, and one that is gone is not', async () => {
  const { RedisInventoryStore } = await import('../../../src/infra/redis/inventory-store.ts');
  const store = new RedisInventoryStore({ ...inventory, sessionsPerProxy: 4 });
  const line = '{"id":"mine"}';
  await inventory.redis.sadd(keys.profilesAvailable, line, 'plain');
  await allocation.reconcile();
  expect(await store.findProfile('mine')).toBe(line);
  expect(await store.findProfile(line)).toBe(line);
  expect(await store.findProfile('plain')).toBe('plain');
  expect(await store.findProfile('other')).toBeNull();
  expect((await allocation.nextProfiles(5)).toSorted()).toEqual(['plain', line].toSorted());
  await inventory.redis.srem(keys.profilesAvailable, line);
  await allocation.reconcile();
  expect(await store.findProfile('mine')).toBeNull();
  expect(await inventory.redis.hlen(keys.profileIndex)).toBe(0);
});

test('raising the cap makes full proxies available again at the next pass', async () => {
  await seed(inventory, { proxies: [proxyLine(1)] });
  for (let n = 0; n < 4; n++) await allocation.allocate(wanting(`s${n}`));
  expect(await allocation.capacity()).toBe(0);
  const { RedisBindingRegistry } = await import('../../../src/infra/redis/allocation-registry.ts');
  const { RedisPoolRepairs } = await import('../../../src/infra/redis/allocation-repairs.ts');
  const caps = { sessionsPerProxy: 6, sessionsPerPhone: 4 };
  const registry = new RedisBindingRegistry({ ...inventory, caps });
  const repairs = new RedisPoolRepairs({ ...inventory, registry, sessionsPerProxy: 6 });
  expect(await repairs.sizesAgree()).toBe(false);
  await repairs.replace();
  expect(await repairs.sizesAgree()).toBe(true);
  expect(await registry.capacity()).toBe(2);
  await checkInvariants({ ...inventory, caps, registry, repairs });
});
