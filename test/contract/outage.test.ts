import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  childrenOf,
  errorFaults,
  eventually,
  type Flotilla,
  freshId,
  request,
  startFlotilla,
} from './flotilla.ts';

let flotilla: Flotilla;
let redisPid: number;
beforeAll(async () => {
  flotilla = await startFlotilla();
  [redisPid = 0] = await childrenOf(flotilla.child.pid ?? 0, 'redis');
});
afterAll(async () => {
  if (redisPid) process.kill(redisPid, 'SIGCONT');
  await flotilla?.stop();
});

describe('a Redis that does not answer', () => {
  it('makes 503 with Retry-After of what needs it, and everything goes on when it is back', async () => {
    expect(redisPid).toBeGreaterThan(0);
    process.kill(redisPid, 'SIGSTOP');
    const task = { mode: 'message', to: '972501234567', text: 'x', taskId: freshId('t') };
    const [status, enqueue, claim] = await Promise.all([
      flotilla.api('GET', '/status'),
      flotilla.api('POST', '/api/sessions/bot/outbox/enqueue', task),
      flotilla.worker('POST', '/api/worker/sessions/bot/outbox/claim?timeout=1'),
    ]);
    for (const answer of [status, enqueue]) {
      expect(errorFaults(answer, 503)).toEqual([]);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    expect([200, 503]).toContain(claim.status);
    const ready = await request(`${flotilla.url}/ready`, 'GET');
    expect(ready.status).toBe(503);
    expect(ready.text).toMatch(/redis/i);
    expect((await request(`${flotilla.url}/health`, 'GET')).body.components).toBeTypeOf('object');
    // What does not need it is still there: a job is taken, durably.
    const job = await flotilla.api('POST', '/api/messages', {
      contacts: [{ name: 'David', phone: '972501234567' }],
      message: 'x',
    });
    expect([200, 503]).toContain(job.status);

    process.kill(redisPid, 'SIGCONT');
    await eventually('readiness', async () => (await request(`${flotilla.url}/ready`, 'GET')).status === 200);
    expect((await flotilla.api('GET', '/status')).status).toBe(200);
    // It said that it did not know: the client sends it again, and it is there once.
    await flotilla.api('POST', '/api/sessions/bot/outbox/enqueue', task);
    expect(await flotilla.redis.llen('session:outbox:bot')).toBe(1);
    if (job.status === 200) {
      const found = await flotilla.api('GET', `/api/messages/${job.body.jobId}`);
      expect(found.body.job.received).toBe(1);
    }
  });
});
