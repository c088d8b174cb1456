import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { createRedis, createSubscriber } from '../../../src/infra/redis/client.ts';
import { RedisOutboxStore } from '../../../src/infra/redis/outbox-store.ts';
import { RedisWakeUps } from '../../../src/infra/redis/outbox-wakeups.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { ClaimHub } from '../../../src/services/outbox/claim-hub.ts';
import { EmptySessions } from '../../../src/services/outbox/empty-sessions.ts';
import { TimerWheel } from '../../../src/services/outbox/timer-wheel.ts';
import { type OutboxHarness, pollOf, startOutbox } from './harness.ts';

const never = new AbortController().signal;
const task = (taskId: string) => ({ taskId, mode: 'message' as const, to: '972501234567', text: 'x' });
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('a poll after one that ended with nothing', () => {
  let h: OutboxHarness;
  /** Another orchestrator, which hears of what comes by pub/sub alone. */
  let hub: ClaimHub;
  const scripts: string[] = [];
  const heard: string[] = [];
  const ends: (() => void)[] = [];

  beforeAll(async () => {
    h = await startOutbox();
    const connection = { url: h.redisServer.url, name: 'other', log: silentLogger };
    const [redis, subscriber] = [createRedis(connection), createSubscriber(connection)];
    ends.push(...[redis, subscriber].map((client) => () => client.disconnect()));
    const runner = new ScriptRunner(redis);
    const run = runner.run.bind(runner);
    runner.run = (name, ...rest) => {
      scripts.push(name);
      return run(name, ...rest);
    };
    const wakeUps = new RedisWakeUps({ redis, subscriber, log: silentLogger });
    hub = new ClaimHub({
      store: new RedisOutboxStore({ redis, scripts: runner, leases: DEFAULT_LEASE_POLICY }),
      wakeUps,
      clock: systemClock,
      log: silentLogger,
      sweepMs: 60_000,
    });
    await hub.start();
    wakeUps.subscribe((sessionId) => {
      heard.push(sessionId);
      return false;
    });
  });
  afterAll(async () => {
    await hub.stop();
    for (const end of ends) end();
    await h.stop();
  });

  const inVain = async (sessionId: string, epoch = 0): Promise<void> => {
    expect(await hub.claim(pollOf(sessionId, { timeoutMs: 60, epoch }), never)).toBe(null);
  };

  test('shares its claim with others, and waits as any other', async () => {
    const sessions = Array.from({ length: 40 }, (_, n) => `shared${n}`);
    await Promise.all(sessions.map((s) => inVain(s)));
    scripts.length = 0;
    const stop = new AbortController();
    const polls = new Map<string, ReturnType<ClaimHub['claim']>>();
    for (const s of sessions) {
      polls.set(s, hub.claim(pollOf(s), stop.signal));
      await turn();
      await turn();
    }
    await expect.poll(() => scripts.length).toBeGreaterThan(0);
    await systemClock.sleep(100);
    // One for each was the rule before.
    expect(scripts.filter((name) => name === 'outbox-claim').length).toBeLessThan(10);
    await h.outbox.enqueue('shared7', [task('a')]);
    expect((await polls.get('shared7'))?.tasks.length).toBe(1);
    stop.abort();
    await Promise.all(polls.values());
  });

  test('gets at once what has come between the two', async () => {
    await inVain('between');
    await h.outbox.enqueue('between', [task('a')]);
    await expect.poll(() => heard).toContain('between');
    scripts.length = 0;
    const polling = hub.claim(pollOf('between'), never);
    await turn();
    expect(scripts).toEqual(['outbox-claim']);
    expect((await polling)?.tasks.length).toBe(1);
  });

  test('gets what was enqueued before anybody was told, and what came while it was on its way', async () => {
    await inVain('early');
    const enqueued = h.outbox.enqueue('early', [task('a')]);
    const polling = hub.claim(pollOf('early'), never);
    await enqueued;
    expect((await polling)?.tasks.length).toBe(1);
  });

  test('of a worker that was replaced meanwhile is told so', async () => {
    await inVain('replaced', 1);
    await h.redis.hset('session:owner:replaced', 'epoch', '2');
    await expect(hub.claim(pollOf('replaced', { epoch: 1 }), never)).rejects.toMatchObject({
      code: 'stale_epoch',
    });
  });

  test.each([
    ['of another epoch', { epoch: 2 }],
    ['that does not wait', { timeoutMs: 0 }],
  ])('%s is in a hurry', async (_, given) => {
    const session = `hurry${Object.keys(given).join()}`;
    await inVain(session, 1);
    scripts.length = 0;
    const stop = new AbortController();
    const polling = hub.claim(pollOf(session, { epoch: 1, ...given }), stop.signal);
    await turn();
    expect(scripts).toEqual(['outbox-claim']);
    stop.abort();
    expect(await polling).toBe(null);
  });
});

test('sessions that were found empty are forgotten when somebody says so, and when nobody asks', () => {
  const empty = new EmptySessions();
  empty.remember('a', 1);
  empty.remember('b', 2);
  empty.remember('c', 3);
  empty.forget('a');
  empty.age();
  expect([empty.take('a'), empty.take('b'), empty.take('b')]).toEqual([null, 2, null]);
  expect(empty.size).toBe(1);
  empty.age();
  expect(empty.take('c')).toBe(null);
  expect(empty.size).toBe(0);
});

test('timers with slack come together, never too soon, and not later than they may', async () => {
  const wheel = new TimerWheel(systemClock);
  const came: { at: number; due: number }[] = [];
  const all = Array.from({ length: 30 }, async (_, n) => {
    await systemClock.sleep(n * 5);
    const due = performance.now() + 300;
    await new Promise<void>((resolve) => {
      wheel.after(
        300,
        () => {
          came.push({ at: performance.now(), due });
          resolve();
        },
        100,
      );
    });
  });
  await Promise.all(all);
  wheel.stop();
  expect(came.every(({ at, due }) => at >= due)).toBe(true);
  // Without slack there is one slot for each 20 ms.
  const moments = came.filter(({ at }, n) => n === 0 || at - (came[n - 1]?.at ?? 0) > 10);
  const spanMs = (came.at(-1)?.due ?? 0) - (came[0]?.due ?? 0);
  expect(moments.length).toBeLessThanOrEqual(spanMs / 100 + 2);
});
