import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiOf, contactsOf, inState } from './api.ts';
import { type Harness, queuedIn, startHarness, until } from './harness.ts';
import { images } from './images.ts';

let h: Harness;
let api: ReturnType<typeof apiOf>;
beforeAll(async () => {
  h = await startHarness({ mediaGraceMs: 0 });
  api = apiOf(h.http.url);
});
afterAll(() => h.stop());

describe('choosing who sends', () => {
  it('waits in words for a session of the tenant, then goes to it in order', async () => {
    const id = await api.submit({ contacts: contactsOf(2300), message: 'Hi {{name}}', tenant: 'acme' });
    expect((await inState(api, id, 'waiting')).waitingFor).toBe('no connected session for tenant acme');
    await h.addSession('s_other');
    await h.addSession('s_acme', { tenant: 'acme' });
    expect((await inState(api, id, 'running')).totals.queued).toBe(2300);
    const box = await queuedIn(h, 's_acme', 2300);
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
    const boxes = await Promise.all(['s_1', 's_2', 's_3'].map((id) => queuedIn(h, id, 30)));
    const before = new Map(boxes.flatMap((box, i) => box.map(({ to }) => [to, i] as const)));
    await api.submit({ contacts: contactsOf(90).toReversed(), message: 'y', tenant: 'spread' });
    const after = await Promise.all(['s_1', 's_2', 's_3'].map((id) => queuedIn(h, id, 60)));
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
    expect((await inState(api, id, 'waiting')).waitingFor).toBe('session s_named is pairing');
    await h.setSession('s_named', { state: 'connected' });
    await queuedIn(h, 's_named', 3);
  });

  it('sends to a phone that is there twice twice, by one session', async () => {
    await h.addSession('s_twice', { tenant: 'twice' });
    const contact = { name: 'A', phone: '972599999999' };
    await api.submit({ contacts: [contact, contact], message: 'x', tenant: 'twice' });
    expect((await queuedIn(h, 's_twice', 2)).map(({ to }) => to)).toEqual([contact.phone, contact.phone]);
  });
});

describe('time', () => {
  it('waits for notBefore, and says so', async () => {
    await h.addSession('s_time', { tenant: 'time' });
    const notBefore = new Date(Date.now() + 1500).toISOString();
    const id = await api.submit({ contacts: contactsOf(2), message: 'x', tenant: 'time', notBefore });
    expect(await h.outbox('s_time')).toEqual([]);
    await queuedIn(h, 's_time', 2);
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(notBefore));
    expect((await api.job(id)).state).toBe('running');
  });

  it('fails what has not been given to a session by expiresAt, and the job is done', async () => {
    const expiresAt = new Date(Date.now() + 2000).toISOString();
    const id = await api.submit({ contacts: contactsOf(1500), message: 'x', tenant: 'nobody', expiresAt });
    await inState(api, id, 'waiting');
    const job = await inState(api, id, 'done');
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
    await queuedIn(h, 's_p', 20);
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
    const done = await inState(api, id, 'done');
    expect(done.totals).toMatchObject({ sent: 18, failed: 2 });
    expect(done.finishedAt).not.toBeNull();
  });

  it('is told task by task, in order, page by page', async () => {
    const id = await api.submit({ contacts: contactsOf(25), message: 'x', tenant: 'progress' });
    await queuedIn(h, 's_p', 25);
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

    const sent = (await api.get(`/api/tasks/${id}-0`)).body.task as {
      story: { state: string; at: string }[];
    };
    expect(sent).toMatchObject({
      state: 'sent',
      sessionId: 's_p',
      jobId: id,
      mode: 'message',
      waitingFor: null,
    });
    expect(sent).toMatchObject({ whatsappId: expect.stringMatching(/^3EB0[0-9A-F]{18}$/) });
    expect(sent.story.map(({ state }) => state)).toEqual(['accepted', 'queued', 'claimed', 'sent']);
    // It was born so: the ledger had nothing to tell.
    expect(sent.story[1]?.at).toBe(sent.story[0]?.at);
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

it('keeps an image as long as a task needs it', async () => {
  await h.addSession('s_img', { tenant: 'img' });
  const form = new FormData();
  form.set('data', JSON.stringify({ contacts: contactsOf(2), tenant: 'img' }));
  form.set('image', new Blob([images.webp]), 'x.webp');
  const { body } = await api.postForm(form);
  const [task] = await queuedIn(h, 's_img', 2);
  const { mediaRef } = task as unknown as { mediaRef: string };
  expect(task).toMatchObject({ mode: 'image', mediaRef: expect.stringMatching(/\.webp$/) });
  expect(await h.messages.media.sweep()).toBe(0);
  await h.work('s_img', 2);
  await inState(api, body.jobId as string, 'done');
  expect(await h.messages.media.has(mediaRef)).toBe(true);
  expect(await h.messages.media.sweep()).toBe(1);
  expect(await h.messages.media.has(mediaRef)).toBe(false);
});
