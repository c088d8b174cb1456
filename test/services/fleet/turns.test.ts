import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { createWaitingWorkers } from '../../../src/infra/redis/placement-stores.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { Turns } from '../../../src/services/fleet/turns.ts';
import type { SessionRecord } from '../../../src/services/sessions/ports.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

let server: TestRedis;
let redis: ReturnType<typeof createRedis>;
beforeAll(async () => {
  server = await startRedis();
  redis = createRedis({ url: server.url, name: 'test', log: silentLogger });
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

/** The epoch of the session's row; null for no such session. */
let current: number | null = 5;
beforeEach(async () => {
  current = 5;
  await redis.flushall();
});
const never = new AbortController().signal;
const turns = (clock = systemClock): Turns =>
  new Turns({
    store: { find: async () => (current === null ? null : ({ epoch: current } as SessionRecord)) },
    waiting: createWaitingWorkers(redis),
    clock,
  });

test('whose turn it is, who follows nobody, and who has no epoch goes on at once', async () => {
  await turns().wait('s1', 5, never);
  await turns().wait('s1', 0, never);
  current = 0;
  await turns().wait('s1', 9, never);
  current = null;
  await turns().wait('s1', 9, never);
  expect(await redis.keys('*')).toEqual([]);
});

test('whose turn is over is told so', async () => {
  await expect(turns().wait('s1', 4, never)).rejects.toMatchObject({ code: 'stale_epoch' });
});

test('who comes before its turn is noted, and waits for it', async () => {
  const waiting = createWaitingWorkers(redis);
  let over = false;
  const turn = turns()
    .wait('s1', 9, never)
    .then(() => {
      over = true;
    });
  while (!(await waiting.has('s1', 9))) await sleep(5);
  expect(await waiting.has('s1', 8)).toBe(false);
  expect(over).toBe(false);
  current = 9;
  await turn;
  await waiting.forget('s1');
  expect(await waiting.has('s1', 9)).toBe(false);
});

test('another one may get the turn instead', async () => {
  const turn = turns().wait('s1', 9, never);
  current = 12;
  await expect(turn).rejects.toMatchObject({ code: 'stale_epoch' });
});

test('it is asked to come again after a while, and forgotten when it goes', async () => {
  let now = 0;
  const quick = {
    ...systemClock,
    monotonicMs: () => now,
    sleep: async (ms: number) => {
      now += ms;
    },
  };
  await expect(turns(quick).wait('s1', 9, never)).rejects.toMatchObject({
    code: 'not_your_turn',
    retryable: true,
  });
  expect(now).toBeGreaterThan(15_000);
  expect(now).toBeLessThan(25_000);
  const gone = new AbortController();
  const turn = turns().wait('s1', 9, gone.signal);
  gone.abort(new Error('gone'));
  await expect(turn).rejects.toThrow('gone');
});
