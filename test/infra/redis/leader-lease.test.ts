import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { RedisLeaderLease } from '../../../src/infra/redis/leader-lease.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { type Clock, systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

let server: TestRedis;
let redis: ReturnType<typeof createRedis>;
let scripts: ScriptRunner;
beforeAll(async () => {
  server = await startRedis();
  redis = createRedis({ url: server.url, name: 'test', log: silentLogger });
  scripts = new ScriptRunner(redis);
});
afterEach(() => redis.flushall());
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const LEASE_MS = 400;
const sleep = (ms: number): Promise<void> => systemClock.sleep(ms);
const lease = (holder: string, over: { place?: string; startedAt?: number } = {}): RedisLeaderLease => {
  const clock: Clock = { ...systemClock, nowMs: () => over.startedAt ?? systemClock.nowMs() };
  const place = over.place === undefined ? {} : { place: over.place };
  return new RedisLeaderLease({ scripts, clock, holder, leaseMs: LEASE_MS, ...place });
};
/** Asks ten times a lease, as a runner does. @returns how long it took until it led */
async function takeOver(follower: RedisLeaderLease): Promise<number> {
  const from = performance.now();
  while (!(await follower.acquire())) await sleep(LEASE_MS / 10);
  return performance.now() - from;
}

test('the first one leads at once, and goes on leading under one number', async () => {
  const [first, second] = [lease('first'), lease('second')];
  expect(await first.acquire()).toBe(true);
  const { fence } = first;
  expect(await second.acquire()).toBe(false);
  expect(await first.acquire()).toBe(true);
  expect(first.fence).toBe(fence);
  expect(second.fence).toBeNull();
});

test('a follower that was there takes over when the lease has run out, and under another number', async () => {
  const [first, second] = [lease('first'), lease('second')];
  await first.acquire();
  const { fence } = first;
  while ((await redis.hget(keys.runnerLeader, 'holder')) === 'first' && !(await second.acquire()))
    await sleep(LEASE_MS / 10);
  expect(second.fence).toBeGreaterThan(fence ?? 0);
  expect([first.tookOver, second.tookOver]).toEqual([false, true]);
  expect(first.fence).toBeNull();
  expect(await first.acquire()).toBe(false);
});

test('one that is released is taken at once', async () => {
  const [first, second] = [lease('first'), lease('second')];
  await first.acquire();
  await second.acquire();
  await first.release();
  expect(await second.acquire()).toBe(true);
});

test('after the server stood still the holder goes on, and a follower waits for a whole lease', async () => {
  const [first, second] = [lease('first'), lease('second')];
  await first.acquire();
  await second.acquire();
  server.pause();
  const asked = second.acquire();
  await sleep(LEASE_MS * 2);
  server.resume();
  // It waited in the server while the lease ran out.
  expect(await asked).toBe(false);
  expect(await second.acquire()).toBe(false);
  expect(await first.acquire()).toBe(true);
});

test('after a loss of all data the one that led goes on; another one waits, and takes over in the end', async () => {
  const [first, second] = [lease('first'), lease('second')];
  await first.acquire();
  await second.acquire();
  await sleep(LEASE_MS);
  await Promise.all([first.acquire(), second.acquire()]);
  await sleep(LEASE_MS / 4);
  await redis.flushall();
  expect(await second.acquire()).toBe(false);
  expect(await first.acquire()).toBe(true);
  await redis.flushall();
  await second.acquire();
  expect(await takeOver(second)).toBeLessThan(LEASE_MS * 4);
});

test('a successor in the same place takes over at once; an older one in that place never does', async () => {
  const now = Date.now();
  const before = lease('before', { place: 'here', startedAt: now - 1000 });
  const after = lease('after', { place: 'here', startedAt: now });
  await before.acquire();
  const { fence } = before;
  expect(await after.acquire()).toBe(true);
  expect(after.fence).toBeGreaterThan(fence ?? 0);
  expect(await before.acquire()).toBe(false);
  expect(await lease('elsewhere', { place: 'there', startedAt: now + 1000 }).acquire()).toBe(false);
});
