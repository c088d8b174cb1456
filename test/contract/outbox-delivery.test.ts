import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { errorFaults, eventually, type Flotilla, freshId, startFlotilla } from './flotilla.ts';

let flotilla: Flotilla;
let id: string;
beforeAll(async () => {
  flotilla = await startFlotilla({ TEXT_LEASE_MS: '1000', MEDIA_LEASE_MS: '1000', MAX_DELIVERIES: '3' });
});
afterAll(() => flotilla?.stop());
beforeEach(() => {
  id = freshId('bot');
});

const enqueue = (...taskIds: string[]) =>
  flotilla.api('POST', `/api/sessions/${id}/outbox/enqueue`, {
    tasks: taskIds.map((taskId) => ({ mode: 'message', to: '972501234567', text: 'x', jobId: 'j', taskId })),
  });
const act = (verb: string, body?: unknown) =>
  flotilla.worker('POST', `/api/worker/sessions/${id}/outbox/${verb}`, body);
const claim = async (timeout = 0) => (await act(`claim?timeout=${timeout}`)).body;
const state = async () => (await flotilla.api('GET', `/api/sessions/${id}/outbox`)).body;
const dead = async () => (await flotilla.api('GET', `/api/sessions/${id}/outbox/dead`)).body;

describe('a lease', () => {
  it('that runs out gives the task to the next poll, before newer ones, even if that waits already', async () => {
    await enqueue('t-1', 't-2');
    const first = await claim();
    // One is under way at a time, so that they leave in order.
    expect([first.task.taskId, (await claim()).task]).toEqual(['t-1', null]);
    await enqueue('t-3');
    await sleep(1_100);
    const again = await claim(5);
    expect([again.task.taskId, again.raw, again.attempt]).toEqual(['t-1', first.raw, 2]);
    // The first worker was slow, not dead: its late ack counts.
    expect((await act('ack', { raw: first.raw })).status).toBe(200);
    expect((await claim()).task.taskId).toBe('t-2');
  });

  it('wakes a poll that was waiting when it ran out', async () => {
    await enqueue('t');
    await claim();
    const started = performance.now();
    const again = await claim(10);
    expect(again.task.taskId).toBe('t');
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it('is extended by touch', async () => {
    await enqueue('t');
    const { raw } = await claim();
    for (let i = 0; i < 3; i++) {
      await sleep(600);
      const touched = await act('touch', { raw });
      expect([touched.status, touched.body.status]).toEqual([200, 'ok']);
    }
    expect((await claim()).task).toBeNull();
    await act('ack', { raw });
    expect((await state()).processing).toBe(0);
  });
});

describe('the dead list', () => {
  it('takes a task after too many deliveries, tells why, and gives it back', async () => {
    await enqueue('t');
    for (let attempt = 1; attempt <= 3; attempt++) {
      const claimed = await claim(5);
      expect([claimed.task?.taskId, claimed.attempt]).toEqual(['t', attempt]);
    }
    await eventually('its death', async () => {
      expect((await claim()).task).toBeNull();
      return (await state()).dead === 1;
    });
    const list = await dead();
    expect(list.status).toBe('ok');
    const entries = Object.values(list).find(Array.isArray) as Record<string, unknown>[];
    expect(entries).toHaveLength(1);
    expect(JSON.stringify(entries[0])).toMatch(/"reason":"[^"]{5,}/);
    const replay = await flotilla.api('POST', `/api/sessions/${id}/outbox/dead/replay`);
    expect([replay.status, replay.body.status]).toEqual([200, 'ok']);
    expect(await state()).toMatchObject({ queued: 1, dead: 0 });
    const back = await claim();
    expect([back.task.taskId, back.attempt]).toEqual(['t', 1]);
    await act('ack', { raw: back.raw });
    expect(await state()).toMatchObject({ queued: 0, processing: 0, delayed: 0, dead: 0 });
  });

  it('takes a final error at once, with its reason', async () => {
    await enqueue('t', 'u');
    const { raw } = await claim();
    await act('nack', { raw, permanent: true, reason: 'not on WhatsApp' });
    expect(JSON.stringify(await dead())).toContain('not on WhatsApp');
    expect((await claim()).task.taskId).toBe('u');
    await act('nack', { raw, permanent: true, reason: 'again' });
    expect((await state()).dead).toBe(1);
  });
});

describe('GET and DELETE of an outbox', () => {
  it('says what is there and clears what is queued', async () => {
    expect(await state()).toMatchObject({
      status: 'ok',
      queued: 0,
      processing: 0,
      delayed: 0,
      dead: 0,
      oldestAgeMs: null,
    });
    await enqueue('a', 'b', 'c');
    const { raw } = await claim();
    const before = await state();
    expect(before).toMatchObject({ queued: 2, processing: 1 });
    expect(before.oldestAgeMs).toBeGreaterThanOrEqual(0);
    const cleared = await flotilla.api('DELETE', `/api/sessions/${id}/outbox`);
    expect(cleared.status).toBe(200);
    expect(Object.values(cleared.body)).toContain(2);
    expect((await act('ack', { raw })).body.acked).toBe(true);
    expect(await state()).toMatchObject({ queued: 0, processing: 0 });
    await eventually('its story', async () => {
      const story = await flotilla.api('GET', '/api/tasks/b');
      return story.body.task?.state === 'cancelled';
    });
  });

  it('is safe for odd session ids', async () => {
    for (const odd of ['a%2Fb', '..%2F..', 'x'.repeat(300), '%00', 'a%20b', '*', 'processing:x']) {
      const answer = await flotilla.api('POST', `/api/sessions/${odd}/outbox/enqueue`, {
        mode: 'message',
        to: '972501234567',
        text: 'x',
        taskId: 't',
      });
      expect([odd, errorFaults(answer, 400)]).toEqual([odd, []]);
    }
  });
});
