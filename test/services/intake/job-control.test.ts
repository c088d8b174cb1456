import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asWorker } from '../../helpers/http.ts';
import { apiOf, contactsOf, inState } from './api.ts';
import { type Harness, queuedIn, startHarness, until } from './harness.ts';

let h: Harness;
let api: ReturnType<typeof apiOf>;
beforeAll(async () => {
  h = await startHarness({ mediaGraceMs: 0 });
  api = apiOf(h.http.url);
});
afterAll(() => h.stop());

const sum = (totals: Record<string, number>) => Object.values(totals).reduce((a, b) => a + b, 0);
describe('pause, resume, cancel', () => {
  it('takes queued tasks back, leaves what is in flight, and goes on in order', async () => {
    await h.addSession('s_pause', { tenant: 'pause' });
    const id = await api.submit({ contacts: contactsOf(50), message: 'x', tenant: 'pause' });
    await queuedIn(h, 's_pause', 50);
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
    const box = await queuedIn(h, 's_pause', 49);
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
    await inState(api, id, 'waiting');
    await api.post(`/api/messages/${id}/pause`);
    await h.addSession('s_later', { tenant: 'later' });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await h.outbox('s_later')).toEqual([]);
    await api.post(`/api/messages/${id}/resume`);
    await queuedIn(h, 's_later', 5);
  });

  it('cancels what is not in flight', async () => {
    await h.addSession('s_cancel', { tenant: 'cancel' });
    const id = await api.submit({ contacts: contactsOf(50), message: 'x', tenant: 'cancel' });
    await queuedIn(h, 's_cancel', 50);
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
    await queuedIn(h, 's_c2', 10);
    await api.post(`/api/messages/${paused}/pause`);
    expect((await api.post(`/api/messages/${paused}/cancel`)).body.job).toMatchObject({
      state: 'cancelled',
      totals: { queued: 0, cancelled: 10 },
    });
    const waiting = await api.submit({ contacts: contactsOf(10), message: 'x', tenant: 'nobody' });
    await inState(api, waiting, 'waiting');
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
  });
});

describe('retry-failed', () => {
  it('replays through the same session while it lives', async () => {
    await h.addSession('s_r', { tenant: 'retry' });
    const id = await api.submit({ contacts: contactsOf(4), message: 'x', tenant: 'retry' });
    await queuedIn(h, 's_r', 4);
    await h.work('s_r', 4, 'fail');
    expect((await inState(api, id, 'done')).totals).toMatchObject({ failed: 4 });
    expect((await api.post(`/api/messages/${id}/retry-failed`)).body.job).toMatchObject({
      state: 'running',
      totals: { queued: 4, failed: 0 },
    });
    await queuedIn(h, 's_r', 4);
    await h.work('s_r', 4);
    expect((await inState(api, id, 'done')).totals).toMatchObject({ sent: 4, failed: 0 });
  });

  it('gives them to another when it does not, and never to both', async () => {
    await h.addSession('s_dead', { tenant: 'orphan' });
    const id = await api.submit({ contacts: contactsOf(4), message: 'x', tenant: 'orphan' });
    await queuedIn(h, 's_dead', 4);
    await h.work('s_dead', 4, 'fail');
    await inState(api, id, 'done');
    await h.setSession('s_dead', { state: 'logged_out' });
    expect(await api.post(`/api/messages/${id}/retry-failed`)).toMatchObject({
      status: 409,
      body: { code: 'no_connected_session' },
    });
    await h.addSession('s_heir', { tenant: 'orphan' });
    await api.post(`/api/messages/${id}/retry-failed`);
    await queuedIn(h, 's_heir', 4);
    expect(await h.parts.outbox.replayDead('s_dead')).toBe(0);
    await h.work('s_heir', 4);
    expect((await inState(api, id, 'done')).totals).toMatchObject({ sent: 4, failed: 0 });
    expect((await api.get(`/api/tasks/${id}-0`)).body.task).toMatchObject({ sessionId: 's_heir' });
  });
});

it('takes back what a dispatcher that was killed has handed over after the pause', async () => {
  await h.addSession('s_late', { tenant: 'late' });
  const id = await api.submit({ contacts: contactsOf(3), message: 'x', tenant: 'late' });
  const tasks = await queuedIn(h, 's_late', 3);
  await api.post(`/api/messages/${id}/pause`);
  // As it is then: the rows wait, and nobody has told that the outbox has the tasks.
  await h.database.db.updateTable('jobs').set({ handed_over: 0 }).where('id', '=', id).execute();
  await h.parts.outbox.push(
    's_late',
    tasks.map((task) => ({ taskId: task.taskId, raw: JSON.stringify(task) })),
    true,
  );
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await h.outbox('s_late')).toHaveLength(3);
  const aWhileAgo = new Date(Date.now() - 16_000).toISOString();
  await h.database.db.updateTable('jobs').set({ updated_at: aWhileAgo }).where('id', '=', id).execute();
  await queuedIn(h, 's_late', 0);
  // Once is enough.
  const handedOver = () =>
    h.database.db.selectFrom('jobs').select('handed_over').where('id', '=', id).executeTakeFirst();
  await until(handedOver, (row) => row?.handed_over === 3);
  await api.post(`/api/messages/${id}/resume`);
  await queuedIn(h, 's_late', 3);
});

it.each(['pause', 'cancel'])(
  '%s also catches what was in flight and came back into the queue',
  async (action) => {
    const session = `s_back_${action}`;
    await h.addSession(session, { tenant: session });
    const id = await api.submit({ contacts: contactsOf(3), message: 'x', tenant: session });
    await queuedIn(h, session, 3);
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
    await queuedIn(h, session, 0);
    const expected = action === 'pause' ? { queued: 3, cancelled: 0 } : { queued: 0, cancelled: 3 };
    await until(
      () => api.job(id),
      ({ totals }) => totals.queued === expected.queued && totals.cancelled === expected.cancelled,
    );
    expect(await h.work(session, 3)).toEqual([]);
  },
);
