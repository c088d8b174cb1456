import { expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { patient } from '../../patience.ts';
import { startOutbox } from './harness.ts';

const body = (taskId: string) => ({ mode: 'message', to: '972501234567', text: 'hi', taskId });

test('Redis restarts in the middle: polls outlast it, nothing hangs, nothing is lost', async () => {
  const h = await startOutbox({ redis: { appendOnly: true, appendFsync: 'always' } });
  try {
    await h.manage('POST', '/api/sessions/s1/outbox/enqueue', body('a'));
    const { raw } = (await h.work('s1', 'claim?timeout=0', { request: 'r1' })).body;
    await h.manage('POST', '/api/sessions/s1/outbox/enqueue', body('b'));
    const polls = ['s2', 's3'].map((session) => h.work(session, 'claim?timeout=12'));
    await systemClock.sleep(200);

    await h.redisServer.kill();
    const [refused, ack, claim] = await Promise.all([
      h.manage('POST', '/api/sessions/s1/outbox/enqueue', body('c')),
      h.work('s1', 'ack', { body: { raw } }),
      h.work('s4', 'claim?timeout=5'),
    ]);
    expect(refused).toMatchObject({ status: 503, body: { code: 'redis_unavailable' } });
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
    expect([ack.status, claim.status]).toEqual([503, 503]);
    await h.redisServer.restart();

    // The worker says again what was not answered.
    await expect
      .poll(async () => (await h.work('s1', 'ack', { body: { raw } })).status, { timeout: patient(8000) })
      .toBe(200);
    expect((await h.manage('POST', '/api/sessions/s1/outbox/enqueue', body('c'))).body).toMatchObject({
      queued: 2,
    });
    for (const id of ['b', 'c']) {
      const { body: next } = await h.work('s1', 'claim?timeout=5');
      expect(next).toMatchObject({ task: { taskId: id }, attempt: 1 });
      await h.work('s1', 'ack', { body: { raw: next.raw } });
    }
    // Polls that had been waiting are still served, over the same subscription.
    await h.manage('POST', '/api/sessions/s2/outbox/enqueue', body('d'));
    expect((await polls[0])?.body).toMatchObject({ task: { taskId: 'd' } });
    await h.redis.lpush(keys.outbox('s3'), '{"taskId":"e"}');
    expect((await polls[1])?.body).toMatchObject({ task: { taskId: 'e' } });
  } finally {
    await h.stop();
  }
});

test('a Redis that stands still is answered with 503, and carries on afterwards', async () => {
  const h = await startOutbox();
  try {
    await h.manage('POST', '/api/sessions/s1/outbox/enqueue', body('a'));
    const waiting = h.work('s2', 'claim?timeout=4');
    await systemClock.sleep(100);
    h.redisServer.pause();
    const started = performance.now();
    const answers = await Promise.all([
      h.work('s1', 'claim?timeout=1', { request: 'r1' }),
      h.manage('POST', '/api/sessions/s1/outbox/enqueue', body('b')),
      h.manage('GET', '/api/sessions/s1/outbox'),
      waiting,
    ]);
    expect(answers.slice(0, 3).map(({ status }) => status)).toEqual([503, 503, 503]);
    expect([200, 503]).toContain(answers[3]?.status);
    expect(performance.now() - started).toBeLessThan(8000);
    h.redisServer.resume();
    // What the server did when it woke is repeated, not done twice.
    await expect
      .poll(async () => (await h.work('s1', 'claim?timeout=1', { request: 'r1' })).body, {
        timeout: patient(8000),
      })
      .toMatchObject({ task: { taskId: 'a' }, attempt: 1 });
    expect((await h.manage('POST', '/api/sessions/s1/outbox/enqueue', body('b'))).status).toBe(200);
    expect(await h.redis.llen(keys.outbox('s1'))).toBe(1);
  } finally {
    h.redisServer.resume();
    await h.stop();
  }
});
