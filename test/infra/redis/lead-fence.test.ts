import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { RedisLeaderLease } from '../../../src/infra/redis/leader-lease.ts';
import { RedisOutboxStore } from '../../../src/infra/redis/outbox-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { type InventoryHarness, proxyLine, seed, startInventory, wanting } from './inventory-harness.ts';

// A leader that stood still between its plan and its write: what it writes then must not meet what its successor has
// done meanwhile.

let h: InventoryHarness;
beforeAll(async () => {
  h = await startInventory();
});
afterAll(() => h.stop());
beforeEach(async () => {
  await h.redis.flushall();
});

const LEASE_MS = 300;
const lease = (holder: string): RedisLeaderLease =>
  new RedisLeaderLease({ scripts: h.scripts, clock: systemClock, holder, leaseMs: LEASE_MS });

/** @returns the numbers of one that led, and of the one that leads after it */
async function changeOfLead(): Promise<[number, number]> {
  const [first, second] = [lease('first'), lease('second')];
  await first.acquire();
  const old = first.fence ?? 0;
  while (!(await second.acquire())) await systemClock.sleep(LEASE_MS / 10);
  return [old, second.fence ?? 0];
}

test('a release that was planned by an earlier leader is refused, and leaves the place taken', async () => {
  await seed(h, { proxies: [proxyLine(1)] });
  await h.registry.allocate(wanting('s1'));
  const [old, present] = await changeOfLead();
  await expect(h.registry.release('s1', { keepProfile: true, fence: old })).rejects.toThrow('FENCED');
  expect(await h.registry.binding('s1')).not.toBeNull();
  expect(await h.redis.hgetall(keys.proxyActiveCount)).toEqual({ [proxyLine(1)]: '1' });
  expect(await h.registry.release('s1', { keepProfile: true, fence: present })).not.toBeNull();
});

test('so is a start: the epoch of the worker that its successor has started stays the newest', async () => {
  const store = new RedisOutboxStore({ redis: h.redis, scripts: h.scripts, leases: DEFAULT_LEASE_POLICY });
  const [old, present] = await changeOfLead();
  const epoch = await store.takeOwnership('s1', present);
  await expect(store.takeOwnership('s1', old)).rejects.toThrow('FENCED');
  expect(await store.epoch('s1')).toBe(epoch);
  expect(await store.takeOwnership('s1')).toBeGreaterThan(epoch);
});

test('a lease that ran out, and that nobody else has taken, is still good', async () => {
  const only = lease('only');
  await only.acquire();
  const fence = only.fence ?? 0;
  await systemClock.sleep(LEASE_MS * 2);
  expect(only.fence).toBeNull();
  await seed(h, { proxies: [proxyLine(1)] });
  await h.registry.allocate(wanting('s1'));
  expect(await h.registry.release('s1', { keepProfile: true, fence })).not.toBeNull();
});

test('no number comes again after a loss of all data', async () => {
  const [, present] = await changeOfLead();
  await h.redis.flushall();
  // No data is lost and found to be lost within a millisecond.
  await systemClock.sleep(2);
  const next = lease('next');
  await next.acquire();
  expect(next.fence).toBeGreaterThan(present);
});

test('an epoch that was given out before begins once, and never after a later one', async () => {
  const store = new RedisOutboxStore({ redis: h.redis, scripts: h.scripts, leases: DEFAULT_LEASE_POLICY });
  const [old, present] = await changeOfLead();
  const epoch = await store.takeOwnership('s1', present);
  await expect(store.handOver('s1', epoch + 1, old)).rejects.toThrow('FENCED');
  expect(await store.handOver('s1', epoch, present)).toBe(false);
  expect(await store.handOver('s1', epoch + 1, present)).toBe(true);
  expect(await store.epoch('s1')).toBe(epoch + 1);
  expect(await store.handOver('s1', epoch + 1)).toBe(false);
  expect(await store.takeOwnership('s1', present)).toBeGreaterThan(epoch + 1);
});
