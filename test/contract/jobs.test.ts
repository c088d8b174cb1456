import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorFaults, eventually, type Flotilla, fileForm, startFlotilla } from './flotilla.ts';

// A session that is made over the API and driven over the worker's endpoints, as the worker of the document would.
let flotilla: Flotilla;
let session: string;
beforeAll(async () => {
  flotilla = await startFlotilla({
    MONITOR_INTERVAL_MS: '3600000',
    WHATSAPP_WS_URL: 'ws://127.0.0.1:9/',
  });
  await flotilla.api('POST', '/upload/proxies', fileForm('127.0.0.1:9\n'));
});
afterAll(() => flotilla?.stop());

const contacts = (n: number, base = 972510000000) =>
  Array.from({ length: n }, (_, i) => ({ name: `Name${i}`, phone: String(base + i) }));
const send = async (n: number, extra: Record<string, unknown> = {}): Promise<string> => {
  const answer = await flotilla.api('POST', '/api/messages', {
    contacts: contacts(n),
    message: 'Hi {{name}}!',
    ...extra,
  });
  expect(answer.status).toBe(200);
  return answer.body.jobId;
};
const job = async (id: string) => (await flotilla.api('GET', `/api/messages/${id}`)).body.job;
const act = (id: string, verb: string) => flotilla.api('POST', `/api/messages/${id}/${verb}`);
const claim = async (timeout = 8) =>
  (await flotilla.worker('POST', `/api/worker/sessions/${session}/outbox/claim?timeout=${timeout}`)).body;
const sum = (totals: Record<string, number>): number => Object.values(totals).reduce((a, b) => a + b, 0);
const TOTALS = ['queued', 'sent', 'delivered', 'read', 'failed', 'cancelled'];

describe('a job without a session', () => {
  it('waits, says for what, and counts each task once', async () => {
    const id = await send(3);
    const waiting = await eventually('the reason', async () => {
      const view = await job(id);
      return /session/i.test(view.waitingFor ?? '') ? view : undefined;
    });
    expect(waiting).toMatchObject({
      id,
      received: 3,
      state: expect.any(String),
      ratePerMinute: expect.any(Number),
    });
    expect(Object.keys(waiting.totals).sort()).toEqual([...TOTALS].sort());
    expect(sum(waiting.totals)).toBe(3);
    expect((await act(id, 'cancel')).status).toBe(200);
    const cancelled = await eventually('the end', async () => {
      const view = await job(id);
      return view.totals.cancelled === 3 ? view : undefined;
    });
    expect([sum(cancelled.totals), cancelled.waitingFor]).toEqual([3, null]);
  });

  it('lists its messages from the start, page by page, and says of each what it waits for', async () => {
    const id = await send(1203);
    await eventually('the reason', async () => (await job(id)).state === 'waiting');
    const tasks = async (query: string) =>
      (await flotilla.api('GET', `/api/messages/${id}/tasks?${query}`)).body;
    const all: { id: string; to: string; state: string }[] = [];
    let cursor: string | null = null;
    do {
      const page = await tasks(`limit=500${cursor === null ? '' : `&cursor=${cursor}`}`);
      all.push(...page.tasks);
      cursor = page.nextCursor;
    } while (cursor !== null);
    expect(all.map(({ id, to, state }) => [id, to, state])).toEqual(
      contacts(1203).map(({ phone }, n) => [`${id}-${n}`, phone, 'accepted']),
    );
    expect((await tasks('state=queued&limit=7')).tasks).toEqual(all.slice(0, 7));
    expect((await tasks('state=sent')).tasks).toEqual([]);

    const story = async (n: number | string) => flotilla.api('GET', `/api/tasks/${id}-${n}`);
    const { task } = (await story(1202)).body;
    expect(task).toMatchObject({ id: `${id}-1202`, jobId: id, to: '972510001202', mode: 'message' });
    expect(task.waitingFor).toMatch(/session/);
    expect(task.story).toEqual([{ state: 'accepted', at: expect.any(String) }]);
    for (const n of [1203, '007', '-1']) expect(errorFaults(await story(n), 404)).toEqual([]);

    expect((await act(id, 'pause')).status).toBe(200);
    expect((await story(0)).body.task.waitingFor).toMatch(/paused/);
    expect((await act(id, 'cancel')).status).toBe(200);
    expect((await tasks('state=cancelled&limit=1000')).tasks).toHaveLength(1000);
    expect((await tasks('state=queued')).tasks).toEqual([]);
    const cancelled = (await story(0)).body.task;
    expect(cancelled).toMatchObject({ state: 'cancelled', waitingFor: null });
    expect(cancelled.story.map(({ state }: { state: string }) => state)).toEqual(['accepted', 'cancelled']);
  });

  it('is 404 if unknown', async () => {
    for (const path of ['', '/tasks']) {
      expect(errorFaults(await flotilla.api('GET', `/api/messages/no-such-job${path}`), 404)).toEqual([]);
    }
    for (const verb of ['pause', 'resume', 'cancel', 'retry-failed']) {
      expect(errorFaults(await act('no-such-job', verb), 404)).toEqual([]);
    }
    expect(errorFaults(await flotilla.api('GET', '/api/tasks/no-such-task'), 404)).toEqual([]);
  });
});

describe('a job with a connected session', () => {
  beforeAll(async () => {
    const created = await flotilla.api('POST', '/api/sessions', { phone: '972520000001' });
    expect(created.status).toBe(201);
    session = created.body.session.id;
    await flotilla.freezeWorker(session);
    const connected = await flotilla.worker('POST', `/api/worker/sessions/${session}/events`, {
      sessionId: session,
      type: 'CONNECTED',
      timestamp: new Date().toISOString(),
      data: { phoneNumber: '972520000001', jid: '972520000001@s.whatsapp.net' },
    });
    expect(connected.status).toBe(200);
    await eventually('connected', async () => {
      const view = (await flotilla.api('GET', `/api/sessions/${session}`)).body.session;
      return view.state === 'connected';
    });
  });

  it('goes through the outbox in order, personalised, and tells its story', async () => {
    const id = await send(3);
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) {
      const { task, raw } = await claim();
      expect(task).toMatchObject({
        mode: 'message',
        to: contacts(3)[i]?.phone,
        text: `Hi Name${i}!`,
        jobId: id,
      });
      expect(JSON.parse(raw)).toEqual(task);
      ids.push(task.taskId);
      await flotilla.worker('POST', `/api/worker/sessions/${session}/outbox/ack`, { raw });
    }
    const done = await eventually('all sent', async () => {
      const view = await job(id);
      return view.totals.sent === 3 ? view : undefined;
    });
    expect([sum(done.totals), done.waitingFor]).toEqual([3, null]);
    const story = await flotilla.api('GET', `/api/tasks/${ids[0]}`);
    expect([story.status, story.body.status]).toEqual([200, 'ok']);
    expect(story.text).toContain(session);
    expect(story.body.task).toMatchObject({ state: 'sent' });
    for (const state of ['queued', 'claimed', 'sent']) expect(story.text).toContain(`"${state}"`);
  });

  it('lists its tasks by state and by page', async () => {
    const id = await send(5);
    await eventually('the tasks', async () => {
      const { body } = await flotilla.api('GET', `/api/messages/${id}/tasks`);
      return body.tasks?.length === 5;
    });
    const seen = new Set<string>();
    let cursor: string | null = null;
    let pages = 0;
    do {
      const query: string = `limit=2${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`;
      const { status, body } = await flotilla.api('GET', `/api/messages/${id}/tasks?${query}`);
      expect(status).toBe(200);
      for (const task of body.tasks) seen.add(task.taskId ?? task.id);
      cursor = body.nextCursor;
      pages++;
    } while (cursor && pages < 10);
    expect([seen.size, pages <= 4]).toEqual([5, true]);
    expect((await flotilla.api('GET', `/api/messages/${id}/tasks?state=sent`)).body.tasks).toEqual([]);
    expect(errorFaults(await flotilla.api('GET', `/api/messages/${id}/tasks?state=nonsense`), 400)).toEqual(
      [],
    );
    expect(errorFaults(await flotilla.api('GET', `/api/messages/${id}/tasks?cursor=%00junk`), 400)).toEqual(
      [],
    );
    await act(id, 'cancel');
    await eventually('the cancelling', async () => (await job(id)).totals.cancelled === 5);
  });

  it('pauses, resumes and cancels', async () => {
    const id = await send(4);
    await eventually('the queue', async () => (await flotilla.redis.llen(`session:outbox:${session}`)) === 4);
    expect((await act(id, 'pause')).status).toBe(200);
    await eventually('the pause', async () => (await job(id)).state === 'paused');
    await eventually(
      'an empty queue',
      async () => (await flotilla.redis.llen(`session:outbox:${session}`)) === 0,
    );
    expect((await claim(0)).task).toBeNull();
    expect((await job(id)).waitingFor).toMatch(/pause/i);
    expect((await act(id, 'resume')).status).toBe(200);
    const { task, raw } = await claim();
    expect(task.jobId).toBe(id);
    await flotilla.worker('POST', `/api/worker/sessions/${session}/outbox/ack`, { raw });
    await act(id, 'cancel');
    const end = await eventually('the cancelling', async () => {
      const view = await job(id);
      return view.totals.cancelled === 3 && view.totals.sent === 1 ? view : undefined;
    });
    expect([end.totals.sent, sum(end.totals)]).toEqual([1, 4]);
    expect(errorFaults(await act(id, 'resume'), 409)).toEqual([]);
  });

  it('counts a final error as failed, and sends it again on retry-failed', async () => {
    const id = await send(1);
    const first = await claim();
    await flotilla.worker('POST', `/api/worker/sessions/${session}/outbox/nack`, {
      raw: first.raw,
      permanent: true,
      reason: 'not on WhatsApp',
    });
    await eventually('the failure', async () => (await job(id)).totals.failed === 1);
    const story = await flotilla.api('GET', `/api/tasks/${first.task.taskId}`);
    expect(story.text).toContain('not on WhatsApp');
    expect((await act(id, 'retry-failed')).status).toBe(200);
    const again = await claim();
    expect([again.task?.jobId, again.task?.to]).toEqual([id, first.task.to]);
    await flotilla.worker('POST', `/api/worker/sessions/${session}/outbox/ack`, { raw: again.raw });
    const end = await eventually('the success', async () => {
      const view = await job(id);
      return view.totals.sent === 1 ? view : undefined;
    });
    expect(sum(end.totals)).toBe(1);
  });

  it('waits until notBefore, and cancels after expiresAt', async () => {
    const later = await send(1, { notBefore: new Date(Date.now() + 3_600_000).toISOString() });
    await eventually('the reason', async () => /time/i.test((await job(later)).waitingFor ?? ''));
    expect((await claim(0)).task).toBeNull();
    await act(later, 'cancel');
    const over = await flotilla.api('POST', '/api/messages', {
      contacts: contacts(1),
      message: 'late',
      expiresAt: new Date(Date.now() - 1_000).toISOString(),
    });
    if (over.status === 200) {
      await eventually('its end', async () => {
        const { totals } = await job(over.body.jobId);
        return totals.failed + totals.cancelled === 1;
      });
    } else expect(errorFaults(over, 400)).toEqual([]);
    expect((await claim(0)).task).toBeNull();
  });
});
