import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asWorker } from '../../helpers/http.ts';
import { apiOf, contactsOf } from './api.ts';
import { type Harness, startHarness, until } from './harness.ts';
import { images } from './images.ts';

let h: Harness;
let api: ReturnType<typeof apiOf>;
beforeAll(async () => {
  h = await startHarness({ mediaGraceMs: 0 });
  api = apiOf(h.http.url);
});
afterAll(() => h.stop());

const inState = (id: string, state: string) =>
  until(
    () => api.job(id),
    (job) => job.state === state,
  );
const queuedIn = (sessionId: string, count: number) =>
  until(
    () => h.outbox(sessionId),
    (tasks) => tasks.length === count,
  );
const sum = (totals: Record<string, number>) => Object.values(totals).reduce((a, b) => a + b, 0);

describe('choosing who sends', () => {
  it('waits in words for a session of the tenant, then goes to it in order', async () => {
    const id = await api.submit({ contacts: contactsOf(2300), message: 'Hi {{name}}', tenant: 'acme' });
    expect((await inState(id, 'waiting')).waitingFor).toBe('no connected session for tenant acme');
    await h.addSession('s_other');
    await h.addSession('s_acme', { tenant: 'acme' });
    expect((await inState(id, 'running')).totals.queued).toBe(2300);
    const box = await queuedIn('s_acme', 2300);
    expect(box.map((task) => task.taskId)).toEqual(contactsOf(2300).map((_, i) => `${id}-${i}`));
    expect(box[7]).toMatchObject({
      mode: 'message',
      to: '972500000007',
      text: 'Hi N7',
      jobId: id,
      tenant: 'acme',
    });
    expect(await h.outbox('s_other')).toEqual([]);
  });

  it('spreads evenly, and stays with the session that a recipient knows', async () => {
    for (const id of ['s_1', 's_2', 's_3']) await h.addSession(id, { tenant: 'spread' });
    const first = await api.submit({ contacts: contactsOf(90), message: 'x', tenant: 'spread' });
    const boxes = await Promise.all(['s_1', 's_2', 's_3'].map((id) => queuedIn(id, 30)));
    const before = new Map(boxes.flatMap((box, i) => box.map(({ to }) => [to, i] as const)));
    await api.submit({ contacts: contactsOf(90).toReversed(), message: 'y', tenant: 'spread' });
    const after = await Promise.all(['s_1', 's_2', 's_3'].map((id) => queuedIn(id, 60)));
    for (const [i, box] of after.entries()) for (const { to } of box) expect(before.get(to)).toBe(i);
    expect((await api.job(first)).totals.queued).toBe(90);
  });

  it('takes another session when the known one is not connected', async () => {
    await h.setSession('s_1', { state: 'reconnecting' });
    await api.submit({ contacts: contactsOf(90), message: 'z', tenant: 'spread' });
    await until(
      async () => (await h.outbox('s_2')).length + (await h.outbox('s_3')).length,
      (count) => count === 210,
    );
    expect(await h.outbox('s_1')).toHaveLength(60);
  });

  it('waits for the very session that a job names', async () => {
    await h.addSession('s_named', { state: 'pairing' });
    const id = await api.submit({ contacts: contactsOf(3), message: 'x', sessionId: 's_named' });
    expect((await inState(id, 'waiting')).waitingFor).toBe('session s_named is pairing');
    await h.setSession('s_named', { state: 'connected' });
    await queuedIn('s_named', 3);
  });

  it('sends to a phone that is there twice twice, by one session', async () => {
    await h.addSession('s_twice', { tenant: 'twice' });
    const contact = { name: 'A', phone: '972599999999' };
    await api.submit({ contacts: [contact, contact], message: 'x', tenant: 'twice' });
    expect((await queuedIn('s_twice', 2)).map(({ to }) => to)).toEqual([contact.phone, contact.phone]);
  });
});

describe('time', () => {
  it('waits for notBefore, and says so', async () => {
    await h.addSession('s_time', { tenant: 'time' });
    const notBefore = new Date(Date.now() + 1500).toISOString();
    const id = await api.submit({ contacts: contactsOf(2), message: 'x', tenant: 'time', notBefore });
    expect(await h.outbox('s_time')).toEqual([]);
    await queuedIn('s_time', 2);
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(notBefore));
    expect((await api.job(id)).state).toBe('running');
  });

  it('fails what has not been given to a session by expiresAt, and the job is done', async () => {
    const expiresAt = new Date(Date.now() + 700).toISOString();
    const id = await api.submit({ contacts: contactsOf(1500), message: 'x', tenant: 'nobody', expiresAt });
    await inState(id, 'waiting');
    const job = await inState(id, 'done');
    expect(job.totals).toMatchObject({ failed: 1500, queued: 0 });
    expect(job).toMatchObject({ percent: 100, etaSeconds: 0, waitingFor: null });
    const { body } = await api.get(`/api/messages/${id}/tasks?state=failed&limit=1`);
    expect((body.tasks as object[])[0]).toMatchObject({ reason: 'expired', sessionId: null });
    // Its time is over: there is nothing to retry.
    expect((await api.post(`/api/messages/${id}/retry-failed`)).body.job).toMatchObject({ state: 'done' });
  });
});

describe('progress', () => {
  it('is counted from what became of the tasks; each counts once', async () => {
    await h.addSession('s_p', { tenant: 'progress' });
    const id = await api.submit({ contacts: contactsOf(20), message: 'x', tenant: 'progress' });
    await queuedIn('s_p', 20);
    await h.work('s_p', 8);
    await h.work('s_p', 2, 'fail');
    const job = await until(
      () => api.job(id),
      ({ totals }) => totals.failed === 2,
    );
    expect(job.totals).toEqual({ queued: 10, sent: 8, delivered: 0, read: 0, failed: 2, cancelled: 0 });
    expect(job).toMatchObject({
      state: 'running',
      percent: 50,
      ratePerMinute: 8,
      etaSeconds: 75,
      finishedAt: null,
    });
    await h.work('s_p', 10);
    const done = await inState(id, 'done');
    expect(done.totals).toMatchObject({ sent: 18, failed: 2 });
    expect(done.finishedAt).not.toBeNull();
  });

  it('is told task by task, in order, page by page', async () => {
    const id = await api.submit({ contacts: contactsOf(25), message: 'x', tenant: 'progress' });
    await queuedIn('s_p', 25);
    await h.work('s_p', 5);
    await until(
      () => api.job(id),
      ({ totals }) => totals.sent === 5,
    );
    const seen: string[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const { body } = await api.get(
        `/api/messages/${id}/tasks?limit=7${cursor === '' ? '' : `&cursor=${cursor}`}`,
      );
      seen.push(...(body.tasks as { id: string }[]).map((task) => task.id));
      cursor = body.nextCursor as string | null;
    }
    expect(seen).toEqual(contactsOf(25).map((_, i) => `${id}-${i}`));
    const open = (await api.get(`/api/messages/${id}/tasks?state=queued`)).body.tasks as { id: string }[];
    expect(open.map((task) => task.id)).toEqual(seen.slice(5));

    const sent = (await api.get(`/api/tasks/${id}-0`)).body.task as { story: { state: string }[] };
    expect(sent).toMatchObject({
      state: 'sent',
      sessionId: 's_p',
      jobId: id,
      mode: 'message',
      waitingFor: null,
    });
    expect(sent).toMatchObject({ whatsappId: expect.stringMatching(/^3EB0[0-9A-F]{18}$/) });
    expect(sent.story.map(({ state }) => state)).toEqual(['accepted', 'queued', 'claimed', 'sent']);
    expect((await api.get(`/api/tasks/${id}-6`)).body.task).toMatchObject({
      state: 'queued',
      waitingFor: expect.stringContaining('1 message is queued before it'),
    });
    await h.setSession('s_p', { state: 'reconnecting' });
    expect((await api.get(`/api/tasks/${id}-6`)).body.task).toMatchObject({
      waitingFor: 'session s_p is reconnecting',
    });
    expect((await api.job(id)).waitingFor).toBe('session s_p is reconnecting');
    await h.setSession('s_p', { state: 'connected' });
    expect((await api.job(id)).waitingFor).toBeNull();
    await h.work('s_p', 20);
  });
});

describe('pause, resume, cancel', () => {
  it('takes queued tasks back, leaves what is in flight, and goes on in order', async () => {
    await h.addSession('s_pause', { tenant: 'pause' });
    const id = await api.submit({ contacts: contactsOf(50), message: 'x', tenant: 'pause' });
    await queuedIn('s_pause', 50);
    const held = await h.work('s_pause', 1, 'hold');
    const paused = await api.post(`/api/messages/${id}/pause`);
    expect(paused.body.job).toMatchObject({
      state: 'paused',
      waitingFor: 'it was paused',
      totals: { queued: 50 },
    });
    expect(await h.outbox('s_pause')).toEqual([]);
    expect((await api.post(`/api/messages/${id}/pause`)).status).toBe(200);
    expect(await api.post(`/api/messages/${id}/retry-failed`)).toMatchObject({
      status: 409,
      body: { code: 'wrong_job_state', state: 'paused' },
    });
    expect((await api.post(`/api/messages/${id}/resume`)).body.job).toMatchObject({ state: 'running' });
    const box = await queuedIn('s_pause', 49);
    expect(held).toEqual([`${id}-0`]);
    expect(box.map(({ taskId }) => taskId)).toEqual(
      contactsOf(50)
        .slice(1)
        .map((_, i) => `${id}-${i + 1}`),
    );
    expect((await api.post(`/api/messages/${id}/resume`)).status).toBe(200);
  });

  it('pauses a job that waits, and expands nothing of it', async () => {
    const id = await api.submit({ contacts: contactsOf(5), message: 'x', tenant: 'later' });
    await inState(id, 'waiting');
    await api.post(`/api/messages/${id}/pause`);
    await h.addSession('s_later', { tenant: 'later' });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await h.outbox('s_later')).toEqual([]);
    await api.post(`/api/messages/${id}/resume`);
    await queuedIn('s_later', 5);
  });

  it('cancels what is not in flight', async () => {
    await h.addSession('s_cancel', { tenant: 'cancel' });
    const id = await api.submit({ contacts: contactsOf(50), message: 'x', tenant: 'cancel' });
    await queuedIn('s_cancel', 50);
    await h.work('s_cancel', 3);
    await h.work('s_cancel', 2, 'hold');
    const cancelled = await api.post(`/api/messages/${id}/cancel`);
    expect(cancelled.body.job).toMatchObject({ state: 'cancelled' });
    const job = await until(
      () => api.job(id),
      ({ totals }) => totals.sent === 3 && totals.cancelled === 45,
    );
    expect(job.totals).toMatchObject({ queued: 2, sent: 3, cancelled: 45 });
    expect(await h.outbox('s_cancel')).toEqual([]);
    expect((await api.post(`/api/messages/${id}/cancel`)).status).toBe(200);
    for (const action of ['pause', 'resume', 'retry-failed']) {
      expect(await api.post(`/api/messages/${id}/${action}`)).toMatchObject({ status: 409 });
    }
  });

  it('cancels a paused job, and one that was never expanded', async () => {
    await h.addSession('s_c2', { tenant: 'c2' });
    const paused = await api.submit({ contacts: contactsOf(10), message: 'x', tenant: 'c2' });
    await queuedIn('s_c2', 10);
    await api.post(`/api/messages/${paused}/pause`);
    expect((await api.post(`/api/messages/${paused}/cancel`)).body.job).toMatchObject({
      state: 'cancelled',
      totals: { queued: 0, cancelled: 10 },
    });
    const waiting = await api.submit({ contacts: contactsOf(10), message: 'x', tenant: 'nobody' });
    await inState(waiting, 'waiting');
    expect((await api.post(`/api/messages/${waiting}/cancel`)).body.job).toMatchObject({
      totals: { queued: 0, cancelled: 10 },
    });
  });

  it('holds under a storm of both while a big job is being expanded', async () => {
    await h.addSession('s_storm', { tenant: 'storm' });
    const id = await api.submit({ contacts: contactsOf(6000), message: 'x', tenant: 'storm' });
    for (let round = 0; round < 6; round++) {
      await Promise.all([
        api.post(`/api/messages/${id}/pause`),
        api.post(`/api/messages/${id}/resume`),
        api.post(`/api/messages/${id}/pause`),
      ]);
      await api.post(`/api/messages/${id}/resume`);
      const { totals } = await api.job(id);
      expect(sum(totals)).toBe(6000);
    }
    const box = await until(
      () => h.outbox('s_storm'),
      (tasks) => tasks.length === 6000,
      15_000,
    );
    expect(new Set(box.map(({ taskId }) => taskId)).size).toBe(6000);
  }, 60_000);
});

describe('retry-failed', () => {
  it('replays through the same session while it lives', async () => {
    await h.addSession('s_r', { tenant: 'retry' });
    const id = await api.submit({ contacts: contactsOf(4), message: 'x', tenant: 'retry' });
    await queuedIn('s_r', 4);
    await h.work('s_r', 4, 'fail');
    expect((await inState(id, 'done')).totals).toMatchObject({ failed: 4 });
    expect((await api.post(`/api/messages/${id}/retry-failed`)).body.job).toMatchObject({
      state: 'running',
      totals: { queued: 4, failed: 0 },
    });
    await queuedIn('s_r', 4);
    await h.work('s_r', 4);
    expect((await inState(id, 'done')).totals).toMatchObject({ sent: 4, failed: 0 });
  });

  it('gives them to another when it does not, and never to both', async () => {
    await h.addSession('s_dead', { tenant: 'orphan' });
    const id = await api.submit({ contacts: contactsOf(4), message: 'x', tenant: 'orphan' });
    await queuedIn('s_dead', 4);
    await h.work('s_dead', 4, 'fail');
    await inState(id, 'done');
    await h.setSession('s_dead', { state: 'logged_out' });
    expect(await api.post(`/api/messages/${id}/retry-failed`)).toMatchObject({
      status: 409,
      body: { code: 'no_connected_session' },
    });
    await h.addSession('s_heir', { tenant: 'orphan' });
    await api.post(`/api/messages/${id}/retry-failed`);
    await queuedIn('s_heir', 4);
    expect(await h.parts.outbox.replayDead('s_dead')).toBe(0);
    await h.work('s_heir', 4);
    expect((await inState(id, 'done')).totals).toMatchObject({ sent: 4, failed: 0 });
    expect((await api.get(`/api/tasks/${id}-0`)).body.task).toMatchObject({ sessionId: 's_heir' });
  });
});

it('keeps an image as long as a task needs it', async () => {
  await h.addSession('s_img', { tenant: 'img' });
  const form = new FormData();
  form.set('data', JSON.stringify({ contacts: contactsOf(2), tenant: 'img' }));
  form.set('image', new Blob([images.webp]), 'x.webp');
  const { body } = await api.postForm(form);
  const [task] = await queuedIn('s_img', 2);
  const { mediaRef } = task as unknown as { mediaRef: string };
  expect(task).toMatchObject({ mode: 'image', mediaRef: expect.stringMatching(/\.webp$/) });
  expect(await h.messages.media.sweep()).toBe(0);
  await h.work('s_img', 2);
  await inState(body.jobId as string, 'done');
  expect(await h.messages.media.has(mediaRef)).toBe(true);
  expect(await h.messages.media.sweep()).toBe(1);
  expect(await h.messages.media.has(mediaRef)).toBe(false);
});

it.each(['pause', 'cancel'])(
  '%s also catches what was in flight and came back into the queue',
  async (action) => {
    const session = `s_back_${action}`;
    await h.addSession(session, { tenant: session });
    const id = await api.submit({ contacts: contactsOf(3), message: 'x', tenant: session });
    await queuedIn(session, 3);
    const claim = await fetch(`${h.http.url}/api/worker/sessions/${session}/outbox/claim?timeout=0`, {
      method: 'POST',
      headers: asWorker,
    });
    const { raw } = (await claim.json()) as { raw: string };
    await api.post(`/api/messages/${id}/${action}`);
    await fetch(`${h.http.url}/api/worker/sessions/${session}/outbox/nack`, {
      method: 'POST',
      headers: asWorker,
      body: JSON.stringify({ raw }),
    });
    await queuedIn(session, 0);
    const expected = action === 'pause' ? { queued: 3, cancelled: 0 } : { queued: 0, cancelled: 3 };
    await until(
      () => api.job(id),
      ({ totals }) => totals.queued === expected.queued && totals.cancelled === expected.cancelled,
    );
    expect(await h.work(session, 3)).toEqual([]);
  },
);
