import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startRedis } from '../helpers/redis.ts';
import { eventually, type Flotilla, startFlotilla } from './flotilla.ts';

const COUNT = 20;
let flotilla: Flotilla;
beforeAll(async () => {
  flotilla = await startFlotilla({ ENDED_IDS_COUNT: String(COUNT), ENDED_IDS_HOURS: '2' });
});
afterAll(() => flotilla?.stop());

const HOUR_MS = 3_600_000;
const enqueue = async (session: string, ids: readonly string[]) => {
  const tasks = ids.map((taskId) => ({ taskId, mode: 'message', to: '972501234567', text: taskId }));
  const { status, body } = await flotilla.api('POST', `/api/sessions/${session}/outbox/enqueue`, { tasks });
  expect(status).toBe(200);
  return body;
};
const sendAll = async (session: string, count: number) => {
  for (let sent = 0; sent < count; sent++) {
    const path = `/api/worker/sessions/${session}/outbox`;
    const { body } = await flotilla.worker('POST', `${path}/claim?timeout=0`);
    expect((await flotilla.worker('POST', `${path}/ack`, { raw: body.raw })).status).toBe(200);
  }
};
const ended = (session: string): Promise<string[]> =>
  flotilla.redis.zrange(`session:ended:${session}`, '0', '-1');
const numbered = (count: number): string[] => Array.from({ length: count }, (_, each) => `t${each}`);

test('of what has ended, Redis keeps ENDED_IDS_COUNT ids per session, the newest', async () => {
  await enqueue('counted', numbered(COUNT + 15));
  await sendAll('counted', COUNT + 15);
  expect((await ended('counted')).toSorted()).toEqual(
    numbered(COUNT + 15)
      .slice(15)
      .toSorted(),
  );
  // SQL still knows the others: a repeat of the very first is no new task.
  expect((await enqueue('counted', ['t0'])).tasks[0]).toMatchObject({ taskId: 't0', duplicate: true });
});

test('and none for longer than ENDED_IDS_HOURS', async () => {
  const now = Date.now();
  await flotilla.redis.zadd(
    'session:ended:aged',
    now - 2.1 * HOUR_MS,
    'older',
    now - 1.9 * HOUR_MS,
    'younger',
  );
  await enqueue('aged', ['fresh']);
  await sendAll('aged', 1);
  expect(await ended('aged')).toEqual(['younger', 'fresh']);
});

test('a session that sends nothing any more leaves nothing behind for good', async () => {
  expect(await flotilla.redis.exists('session:outbox:counted', 'session:outbox:processing:counted')).toBe(0);
  expect(await flotilla.redis.hlen('session:leases:counted')).toBe(0);
  expect(await flotilla.redis.scard('session:task_ids:counted')).toBe(0);
});

test('of the dead, DEAD_TASKS_COUNT per session stay on their list, the newest', async () => {
  const server = await startRedis({ appendOnly: true });
  const redis = new Redis(server.url);
  let small: Flotilla | undefined;
  try {
    for (const taskId of numbered(COUNT)) {
      const raw = JSON.stringify({ taskId, mode: 'message', to: '972501234567', text: 'x' });
      await redis.lpush(
        'session:dead:bot',
        JSON.stringify({ raw, reason: 'no', at: Date.now(), attempts: 1 }),
      );
    }
    small = await startFlotilla({ REDIS_URL: server.url, DEAD_TASKS_COUNT: '5' });
    await eventually('a look', async () => (await redis.llen('session:dead:bot')) <= 5, 20_000);
    const { body } = await small.api('GET', '/api/sessions/bot/outbox/dead');
    expect(body.tasks.map(({ taskId }: { taskId: string }) => taskId)).toEqual(
      numbered(COUNT).slice(-5).reverse(),
    );
  } finally {
    await small?.stop();
    redis.disconnect();
    await server.stop();
  }
});
