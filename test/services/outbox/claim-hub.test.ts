import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { createRedis, createSubscriber } from '../../../src/infra/redis/client.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { composeOutbox } from '../../../src/orchestrator/compose-outbox.ts';
import type { Claim } from '../../../src/services/outbox/ports.ts';
import { type OutboxHarness, pollOf, startOutbox } from './harness.ts';

let h: OutboxHarness;
let sessions = 0;
const fresh = (): string => `s${++sessions}`;
beforeAll(async () => {
  h = await startOutbox();
});
afterAll(() => h.stop());

const task = (taskId: string) => ({ taskId, mode: 'message' as const, to: '972501234567', text: 'hi' });
const never = new AbortController().signal;
const wait = (ms: number) => systemClock.sleep(ms);
const raws = (claim: Claim | null) =>
  claim?.tasks.map(({ raw }) => (JSON.parse(raw) as { taskId: string }).taskId);

describe('waiting polls', () => {
  test('are woken as soon as a task is enqueued, also one that comes while the first claim is under way', async () => {
    for (let n = 0; n < 30; n++) {
      const s = fresh();
      const started = performance.now();
      const polling = h.hub.claim(pollOf(s), never);
      if (n % 3 === 1) await wait(1);
      if (n % 3 === 2) await new Promise((resolve) => setImmediate(resolve));
      await h.outbox.enqueue(s, [task('a')]);
      expect(raws(await polling)).toEqual(['a']);
      // Below the interval of the sweep: it was the wake-up.
      expect(performance.now() - started).toBeLessThan(700);
    }
  });

  test('of one session are served one after the other, the oldest first', async () => {
    const s = fresh();
    const served: number[] = [];
    const polls = [0, 1, 2].map(async (n) => {
      const claim = await h.hub.claim(pollOf(s), never);
      served.push(n);
      await h.outbox.ack(s, [{ raw: claim?.tasks[0]?.raw ?? '', whatsappId: null }]);
      return raws(claim);
    });
    await wait(50);
    await h.outbox.enqueue(s, [task('a'), task('b'), task('c')]);
    expect(await Promise.all(polls)).toEqual([['a'], ['b'], ['c']]);
    expect(served).toEqual([0, 1, 2]);
  });

  test('get what another one left when its lease runs out', async () => {
    const quick = await startOutbox({ leases: { textLeaseMs: 300 }, options: { sweepMs: 60_000 } });
    try {
      const s = fresh();
      await quick.outbox.enqueue(s, [task('a')]);
      await quick.hub.claim(pollOf(s), never);
      const again = await quick.hub.claim(pollOf(s), never);
      expect(again?.tasks[0]?.attempt).toBe(2);
    } finally {
      await quick.stop();
    }
  });

  test('with the same request get the same task, though an older poll of it still seems to wait', async () => {
    const s = fresh();
    const ghost = h.hub.claim(pollOf(s, { requestId: 'r1', epoch: 3 }), never);
    const retry = h.hub.claim(pollOf(s, { requestId: 'r1', epoch: 3 }), never);
    await wait(50);
    await h.outbox.enqueue(s, [task('a')]);
    expect((await retry)?.claimId).toBe((await ghost)?.claimId);
    expect((await retry)?.tasks[0]?.attempt).toBe(1);
  });

  test('are woken by what another process enqueues', async () => {
    const connection = { url: h.redisServer.url, name: 'other', log: silentLogger };
    const redis = createRedis(connection);
    const subscriber = createSubscriber(connection);
    const other = composeOutbox({
      redis,
      subscriber,
      scripts: new ScriptRunner(redis),
      database: h.database,
      leases: DEFAULT_LEASE_POLICY,
      isDeleted: async () => false,
      clock: systemClock,
      log: silentLogger,
      sweepMs: 60_000,
    });
    await other.hub.start();
    try {
      const s = fresh();
      const polling = other.hub.claim(pollOf(s), never);
      await wait(50);
      const started = performance.now();
      await h.outbox.enqueue(s, [task('a')]);
      expect(raws(await polling)).toEqual(['a']);
      expect(performance.now() - started).toBeLessThan(500);
    } finally {
      await other.hub.stop();
      redis.disconnect();
      subscriber.disconnect();
    }
  });

  test('a thousand of them cost two connections', async () => {
    const before = h.hub.waiting;
    const stop = new AbortController();
    const polls = Array.from({ length: 1000 }, (_, index) =>
      h.hub.claim(pollOf(`many${index}`, { timeoutMs: 20_000 }), stop.signal),
    );
    await wait(100);
    expect(h.hub.waiting).toBe(before + 1000);
    const clients = (await h.redis.client('LIST')) as string;
    expect(clients.match(/name=flotilla:test/g)?.length).toBe(2);
    await h.outbox.enqueue('many500', [task('a')]);
    expect(raws((await polls[500]) ?? null)).toEqual(['a']);
    stop.abort();
    expect((await Promise.all(polls)).filter((claim) => claim !== null).length).toBe(1);
    expect(h.hub.waiting).toBe(before);
  });

  test('end together without holding each other up', async () => {
    const started = performance.now();
    const polls = Array.from({ length: 500 }, (_, index) =>
      h.hub.claim(pollOf(`end${index}`, { timeoutMs: 500 }), never),
    );
    expect(new Set(await Promise.all(polls))).toEqual(new Set([null]));
    expect(performance.now() - started).toBeGreaterThanOrEqual(500);
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test('see within seconds what was pushed by hand', async () => {
    const s = fresh();
    const polling = h.hub.claim(pollOf(s), never);
    await wait(50);
    await h.redis.lpush(keys.outbox(s), '{"taskId":"x"}');
    expect(raws(await polling)).toEqual(['x']);
  });

  test('of a client that goes away claim nothing', async () => {
    const s = fresh();
    const client = new AbortController();
    const polling = h.hub.claim(pollOf(s), client.signal);
    await wait(30);
    client.abort();
    expect(await polling).toBe(null);
    await h.outbox.enqueue(s, [task('a')]);
    await wait(30);
    expect(await h.redis.llen(keys.outbox(s))).toBe(1);
  });
});
