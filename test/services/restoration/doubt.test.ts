import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { IncarnationFence, redisIncarnation } from '../../../src/infra/redis/incarnation.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { Restoration } from '../../../src/services/restoration/restoration.ts';
import { patient } from '../../patience.ts';
import { type LossHarness, startLoss } from './harness.ts';

const NEVER_MS = 3_600_000;
const SOON = { timeout: patient(10_000), interval: 20 };

let h: LossHarness;
let restoration: Restoration;
beforeEach(async () => {
  h = await startLoss();
});
afterEach(async () => {
  await restoration.stop();
  await h.stop();
});

const start = async (intervalMs?: number): Promise<void> => {
  restoration = h.restorer(intervalMs);
  await restoration.start();
  // Its first look is over: one that fails half-way would be repeated, and hide that nothing else wakes it.
  await new Promise((resolve) => setTimeout(resolve, 300));
};
const isSettled = async (): Promise<boolean> =>
  (await h.redis.get(keys.incarnation)) === (await redisIncarnation(h.redis));
const looks = async (): Promise<number> =>
  Number(/cmdstat_info:calls=(\d+)/.exec(await h.redis.info('commandstats'))?.[1] ?? 0);

test('a server that gives no cause for doubt is asked once a second', async () => {
  await start();
  const [before, startedAt] = [await looks(), performance.now()];
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const seconds = (performance.now() - startedAt) / 1000;
  const asked = (await looks()) - before - 1; // the last question is our own
  expect(asked).toBeLessThanOrEqual(Math.ceil(seconds) + 1);
  expect(asked).toBeGreaterThan(0);
});

test('a server that was started anew is looked at when the connection is back, whoever asks for something', async () => {
  await start(NEVER_MS);
  await h.lose('all');
  await vi.waitFor(async () => expect(await isSettled()).toBe(true), SOON);
});

test('one that took the place of another behind the same connection is looked at with the first refused request', async () => {
  await start(NEVER_MS);
  await h.outbox.epoch('s1');
  await h.redis.set(keys.incarnation, 'of-another-server');
  await h.redis.script('FLUSH');
  await expect(h.allocation.allocate(request)).rejects.toMatchObject({ code: 'redis_restoring' });
  await vi.waitFor(async () => expect(await isSettled()).toBe(true), SOON);
});

test('and without any request by the look between', async () => {
  await start(50);
  await h.redis.set(keys.incarnation, 'of-another-server');
  await vi.waitFor(async () => expect(await isSettled()).toBe(true), SOON);
});

test('one that cannot be restored at once is tried again, without waiting for the next look', async () => {
  await start(NEVER_MS);
  const failing = vi.spyOn(h.ledger, 'backlog').mockRejectedValueOnce(new Error('SQL does not answer'));
  await h.lose('all');
  await vi.waitFor(async () => expect(await isSettled()).toBe(true), SOON);
  expect(failing.mock.calls.length).toBeGreaterThan(1);
});

test('the right to restore is kept for as long as the work takes, also if it is not answered once', async () => {
  await start(NEVER_MS);
  await h.lose('all');
  await vi.waitFor(async () => expect(await isSettled()).toBe(true), SOON);
  await h.redis.set(keys.incarnation, 'of-another-server');
  const left: number[] = [];
  const slow = {
    async restore() {
      const until = performance.now() + patient(20_000);
      lead.mockRejectedValueOnce(new Error('no answer'));
      // Renewed: it has more time left than before.
      while ((left.at(-1) ?? 0) <= (left.at(-2) ?? left.at(-1) ?? 0) && performance.now() < until) {
        left.push(await h.redis.pttl(keys.restorer));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      return 0;
    },
  };
  const incarnations = new IncarnationFence(h.redis);
  const lead = vi.spyOn(incarnations, 'lead');
  const long = new Restoration({
    incarnations,
    backlog: async () => 0,
    parts: [slow],
    clock: systemClock,
    log: silentLogger,
  });
  expect(await long.pass(AbortSignal.timeout(patient(30_000)))).toBe(true);
  expect(left.at(-1)).toBeGreaterThan(left.at(-2) ?? 0);
});

test('who has lost the right to restore opens nothing', async () => {
  await start(NEVER_MS);
  const [late, now] = [new IncarnationFence(h.redis), new IncarnationFence(h.redis)];
  await h.redis.set(keys.incarnation, 'of-another-server');
  const runId = await redisIncarnation(h.redis);
  expect(await late.lead()).toBe(true);
  expect(await now.lead()).toBe(false);
  await h.redis.del(keys.restorer);
  expect(await now.lead()).toBe(true);
  expect(await late.settle(runId)).toBe(false);
  expect(await isSettled()).toBe(false);
  expect(await late.lead()).toBe(false);
  expect(await now.settle(runId)).toBe(true);
  expect(await isSettled()).toBe(true);
  expect(await h.redis.exists(keys.restorer)).toBe(0);
});

const request = { sessionId: 's1', phone: null, profile: null, pinnedProxy: null, direct: true };
