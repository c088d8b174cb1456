import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { createRedis, createSubscriber } from '../../../src/infra/redis/client.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { composeOutbox } from '../../../src/orchestrator/compose-outbox.ts';
import { ClaimHub, type Poll } from '../../../src/services/outbox/claim-hub.ts';
import type { Claim, ClaimOutcome, ClaimRequest } from '../../../src/services/outbox/ports.ts';
import { type OutboxHarness, startOutbox } from './harness.ts';

let h: OutboxHarness;
let sessions = 0;
const fresh = (): string => `s${++sessions}`;
beforeAll(async () => {
  h = await startOutbox();
});
afterAll(() => h.stop());

const task = (taskId: string) => ({ taskId, mode: 'message' as const, to: '972501234567', text: 'hi' });
const pollOf = (sessionId: string, given: Partial<Poll> = {}): Poll => ({
  sessionId,
  epoch: 0,
  requestId: null,
  max: 1,
  timeoutMs: 5000,
  ...given,
});
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
});

/** A hub whose store answers when the test says so. */
function hubWithSlowStore() {
  const asked: { request: ClaimRequest; answer(outcome: ClaimOutcome): void; fail(error: Error): void }[] =
    [];
  const unclaimed: string[] = [];
  const hub = new ClaimHub({
    store: {
      claim: (request) =>
        new Promise((resolve, reject) => {
          asked.push({ request, answer: resolve, fail: reject });
        }),
      unclaim: async (_, claimId) => unclaimed.push(claimId),
      ready: async () => [],
    },
    wakeUps: { publish: () => undefined, subscribe: () => () => undefined },
    clock: systemClock,
    log: silentLogger,
  });
  return { hub, asked, unclaimed };
}

const served = (claimId: string, repeated = false): ClaimOutcome => ({
  kind: 'tasks',
  claimId,
  leaseMs: 1000,
  repeated,
  tasks: [{ raw: '{"taskId":"a"}', attempt: 1 }],
});

describe('a client that goes away', () => {
  test('while it waits claims nothing', async () => {
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

  test('while its claim is under way gives it back', async () => {
    const { hub, asked, unclaimed } = hubWithSlowStore();
    const client = new AbortController();
    const polling = hub.claim(pollOf('s'), client.signal);
    client.abort();
    expect(await polling).toBe(null);
    asked[0]?.answer(served('c1'));
    await wait(1);
    expect(unclaimed).toEqual(['c1']);
    expect(hub.waiting).toBe(0);
  });

  test('keeps a claim that was answered before: its first answer may have arrived', async () => {
    const { hub, asked, unclaimed } = hubWithSlowStore();
    const client = new AbortController();
    const polling = hub.claim(pollOf('s', { requestId: 'r1' }), client.signal);
    client.abort();
    await polling;
    asked[0]?.answer(served('c1', true));
    await wait(1);
    expect(unclaimed).toEqual([]);
  });

  test('that had gone already is not even asked for', async () => {
    const { hub, asked } = hubWithSlowStore();
    expect(await hub.claim(pollOf('s'), AbortSignal.abort())).toBe(null);
    expect(asked).toEqual([]);
  });
});

describe('the time', () => {
  test('that is over while a claim is under way waits for its outcome', async () => {
    const { hub, asked } = hubWithSlowStore();
    const polling = hub.claim(pollOf('s', { timeoutMs: 30 }), never);
    await wait(100);
    asked[0]?.answer(served('c1'));
    expect((await polling)?.claimId).toBe('c1');
  });

  test('of nothing asks once', async () => {
    const { hub, asked } = hubWithSlowStore();
    const polling = hub.claim(pollOf('s', { timeoutMs: 0 }), never);
    asked[0]?.answer({ kind: 'empty' });
    expect(await polling).toBe(null);
    expect(asked.length).toBe(1);
  });

  test('a wake-up during a claim is not lost', async () => {
    const { hub, asked } = hubWithSlowStore();
    const polling = hub.claim(pollOf('s'), never);
    hub.wake('s');
    asked[0]?.answer({ kind: 'empty' });
    await wait(1);
    asked[1]?.answer(served('c2'));
    expect((await polling)?.claimId).toBe('c2');
    // The client repeats a script whose answer got lost with its connection: it must be the same request.
    expect(asked[1]?.request.requestId).toBe(asked[0]?.request.requestId);
  });
});

describe('stopping', () => {
  test('answers all at once, gives back what is under way, and takes no more', async () => {
    const { hub, asked, unclaimed } = hubWithSlowStore();
    await hub.start();
    const polls = [
      hub.claim(pollOf('s'), never),
      hub.claim(pollOf('s'), never),
      hub.claim(pollOf('x'), never),
    ];
    const stopping = hub.stop();
    expect(await Promise.all(polls)).toEqual([null, null, null]);
    asked[0]?.answer(served('c1'));
    asked[1]?.answer({ kind: 'empty' });
    await stopping;
    expect(unclaimed).toEqual(['c1']);
    expect(await hub.claim(pollOf('s'), never)).toBe(null);
    await hub.stop();
  });
});

describe('a store that fails', () => {
  test('is said to whoever comes, and waited out by whoever waits', async () => {
    const { hub, asked } = hubWithSlowStore();
    const first = hub.claim(pollOf('s'), never);
    asked[0]?.fail(new Error('down'));
    await expect(first).rejects.toThrow('down');

    const waiting = hub.claim(pollOf('s'), never);
    asked[1]?.answer({ kind: 'empty' });
    await wait(1);
    hub.wake('s');
    asked[2]?.fail(new Error('down'));
    await wait(1);
    hub.wake('s');
    asked[3]?.answer(served('c1'));
    expect((await waiting)?.claimId).toBe('c1');
  });

  test('is said when the time is over and it still fails', async () => {
    const { hub, asked } = hubWithSlowStore();
    const waiting = hub.claim(pollOf('s', { timeoutMs: 60 }), never);
    asked[0]?.answer({ kind: 'empty' });
    await wait(1);
    hub.wake('s');
    asked[1]?.fail(new Error('down'));
    await expect(waiting).rejects.toThrow('down');
  });
});
