import { access } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { apiOf, contactsOf } from './api.ts';
import { type Harness, startHarness, until } from './harness.ts';

let h: Harness;
let api: ReturnType<typeof apiOf>;
beforeEach(async () => {
  h = await startHarness();
  api = apiOf(h.http.url);
  await h.addSession('s_1');
});
afterEach(() => h.stop());

it('takes a job while Redis is down, and sends it when Redis is back', async () => {
  await h.redisServer.kill();
  const start = performance.now();
  const id = await api.submit({ contacts: contactsOf(20), message: 'x' });
  expect(performance.now() - start).toBeLessThan(2000);
  expect(await api.job(id)).toMatchObject({ state: 'accepted', totals: { queued: 20 } });
  await h.redisServer.restart();
  await until(
    () => h.outbox('s_1').catch(() => []),
    (tasks) => tasks.length === 20,
    15_000,
  );
});

it('goes on after Redis was away in the middle of a job', async () => {
  const id = await api.submit({ contacts: contactsOf(8000), message: 'x' });
  await until(
    () => h.redis.llen(keys.outbox('s_1')),
    (length) => length > 500,
  );
  await h.redisServer.kill();
  await h.redisServer.restart({ keepData: false });
  const box = await until(
    () => h.outbox('s_1').catch(() => []),
    (tasks) => tasks.length >= 8000,
    25_000,
  );
  expect(new Set(box.map(({ taskId }) => taskId)).size).toBe(8000);
  expect(box).toHaveLength(8000);
  expect((await api.job(id)).totals.queued).toBe(8000);
});

it('refuses a job that it cannot store, and keeps nothing of it', async () => {
  await h.database.close();
  const answer = await api.post('/api/messages', { contacts: contactsOf(1), message: 'x' });
  expect(answer.status).toBeGreaterThanOrEqual(500);
  await expect(access(`${h.dir}/media`)).rejects.toThrow();
});
