import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keys } from '../../../../src/infra/redis/keys.ts';
import { type OutboxHarness, startOutbox } from '../../../services/outbox/harness.ts';

let h: OutboxHarness;
let sessions = 0;
/** A session of its own for each test. */
const fresh = (): string => `s${++sessions}`;
beforeAll(async () => {
  h = await startOutbox();
});
afterAll(() => h.stop());

const message = { mode: 'message', to: '972501234567', text: 'שלום' };
const enqueue = (session: string, body: unknown) =>
  h.manage('POST', `/api/sessions/${session}/outbox/enqueue`, body);
const claimed = async (session: string, max = 1) =>
  (await h.work(session, `claim?timeout=0&max=${max}`)).body.tasks ?? [];

describe('POST …/outbox/enqueue', () => {
  test('takes the two modes of the contract', async () => {
    const s = fresh();
    expect(await enqueue(s, { ...message, jobId: 'j1', taskId: 't1' })).toMatchObject({
      status: 200,
      body: { status: 'ok', taskId: 't1', queued: 1 },
    });
    const image = {
      mode: 'image',
      to: '972501234567',
      mediaRef: 'a b.jpg',
      mediaPath: '/tmp/x',
      taskId: 't2',
    };
    expect((await enqueue(s, image)).body).toEqual({ status: 'ok', taskId: 't2', queued: 2 });
    const raws = (await h.redis.lrange(keys.outbox(s), 0, -1)).map((raw) => JSON.parse(raw) as object);
    expect(raws).toEqual([
      { taskId: 't2', mode: 'image', to: '972501234567', mediaRef: 'a b.jpg' },
      { ...message, jobId: 'j1', taskId: 't1' },
    ]);
  });

  test('makes a task id where none is given', async () => {
    const s = fresh();
    const { body } = await enqueue(s, { ...message, taskId: null, jobId: null, expiresAt: null });
    expect(body.taskId).toMatch(/^task_[0-9a-z]{20}$/);
    expect(await claimed(s)).toMatchObject([{ task: { ...message, taskId: body.taskId } }]);
  });

  test('takes the name of an image from its path, and never more than the name', async () => {
    const s = fresh();
    await enqueue(s, { mode: 'image', to: '972501234567', mediaPath: '/tmp/uploads/../pic.png' });
    expect(await claimed(s)).toMatchObject([{ task: { mediaRef: 'pic.png' } }]);
  });

  test('lets further fields travel along', async () => {
    const s = fresh();
    await enqueue(s, {
      ...message,
      tenant: 'acme',
      note: { deep: [1] },
      expiresAt: '2999-01-01T02:00:00+02:00',
    });
    expect(await claimed(s)).toMatchObject([
      { task: { tenant: 'acme', note: { deep: [1] }, expiresAt: '2999-01-01T00:00:00.000Z' } },
    ]);
  });

  test('does not queue a task twice, also after it has ended', async () => {
    const s = fresh();
    const task = { ...message, taskId: 'once' };
    await enqueue(s, task);
    expect((await enqueue(s, task)).body).toEqual({
      status: 'ok',
      taskId: 'once',
      queued: 1,
      duplicate: true,
    });
    const [first] = await claimed(s);
    expect((await enqueue(s, task)).body).toMatchObject({ duplicate: true, queued: 0 });
    await h.work(s, 'ack', { body: { raw: first?.raw } });
    expect((await enqueue(s, task)).body).toMatchObject({ duplicate: true, queued: 0 });
    await h.follower.drain();
    await h.redis.del(keys.outboxEnded(s)); // SQL knows it too
    expect((await enqueue(s, task)).body).toMatchObject({ duplicate: true, queued: 0 });
  });

  test('takes many in order', async () => {
    const s = fresh();
    const tasks = Array.from({ length: 2500 }, (_, index) => ({
      ...message,
      taskId: `t${index}`,
      text: `${index}`,
    }));
    const { status, body } = await enqueue(s, { tasks: [...tasks, tasks[3]] });
    expect(status).toBe(200);
    expect(body.queued).toBe(2500);
    expect(body.tasks?.length).toBe(2501);
    expect(body.tasks?.at(-1)).toEqual({ taskId: 't3', duplicate: true });
    const batch = await claimed(s, 100);
    expect(batch.map(({ task }) => (task as { taskId: string }).taskId)).toEqual(
      tasks.slice(0, 100).map(({ taskId }) => taskId),
    );
  });

  test.each<[string, unknown, string]>([
    ['no mode', { to: '972501234567', text: 'x' }, 'mode'],
    ['another mode', { ...message, mode: 'video' }, 'mode'],
    ['no text', { mode: 'message', to: '972501234567' }, 'text'],
    ['an empty text', { ...message, text: '  ' }, 'text'],
    ['a text that is a number', { ...message, text: 5 }, 'text'],
    ['a text that is too long', { ...message, text: 'x'.repeat(65_537) }, 'text'],
    ['no recipient', { mode: 'message', text: 'x' }, 'to'],
    ['letters in the phone', { ...message, to: '97250123456a' }, 'to'],
    ['a short phone', { ...message, to: '1234567' }, 'to'],
    ['a long phone', { ...message, to: '1234567890123456' }, 'to'],
    ['a path for a name', { mode: 'image', to: '972501234567', mediaRef: 'a/b.jpg' }, 'mediaRef'],
    ['a way up', { mode: 'image', to: '972501234567', mediaRef: '..' }, 'mediaRef'],
    ['a backslash', { mode: 'image', to: '972501234567', mediaRef: 'a\\b.jpg' }, 'mediaRef'],
    ['no image', { mode: 'image', to: '972501234567' }, 'mediaRef'],
    ['a path without a name', { mode: 'image', to: '972501234567', mediaPath: '/tmp/..' }, 'mediaRef'],
    ['a task id with a space', { ...message, taskId: 'a b' }, 'taskId'],
    ['a task id that is a number', { ...message, taskId: 5 }, 'taskId'],
    ['a job id that leaves its place', { ...message, jobId: '../x' }, 'jobId'],
    ['an end that is no time', { ...message, expiresAt: 'tomorrow' }, 'expiresAt'],
    ['too much of everything', { ...message, note: 'x'.repeat(600_000) }, 'task'],
    ['tasks that are no list', { tasks: 5 }, 'tasks'],
    ['no tasks', { tasks: [] }, 'tasks'],
    ['one wrong among many', { tasks: [message, { ...message, to: 'x' }] }, 'tasks[1].to'],
    ['something else among many', { tasks: [message, 7] }, 'tasks[1]'],
    ['too many', { tasks: Array.from({ length: 10_001 }, () => message) }, 'tasks'],
  ])('refuses %s, names the field, and queues nothing', async (_, body, field) => {
    const s = fresh();
    const answer = await enqueue(s, body);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ status: 'error', code: 'invalid_request', field });
    expect(answer.body.reason).toContain(field);
    expect(await h.redis.llen(keys.outbox(s))).toBe(0);
  });

  test.each<[string, number, string]>([
    ['[1]', 400, 'invalid_request'],
    ['"x"', 400, 'invalid_request'],
    ['null', 400, 'invalid_request'],
    ['{"mode":', 400, 'malformed_json'],
    ['', 400, 'invalid_request'],
  ])('answers the body %j with %i', async (body, status, code) => {
    expect(await enqueue(fresh(), body)).toMatchObject({ status, body: { status: 'error', code } });
  });

  test('wants the key of the management', async () => {
    const url = `${h.http.url}/api/sessions/x/outbox/enqueue`;
    for (const headers of [{}, { 'x-api-key': 'wrong' }, { 'x-webhook-secret': 'test-webhook-secret' }]) {
      expect((await fetch(url, { method: 'POST', headers, body: '{}' })).status).toBe(401);
    }
  });

  test('refuses a malformed session id, and a session that was deleted', async () => {
    expect((await enqueue('%20x', message)).status).toBe(400);
    expect((await enqueue('a%2Fb', message)).status).toBe(400);
    expect((await enqueue('x'.repeat(129), message)).status).toBe(400);
    expect(await enqueue('deleted1', message)).toMatchObject({
      status: 404,
      body: { code: 'session_not_found' },
    });
    expect(await h.redis.exists(keys.outbox('deleted1'))).toBe(0);
  });
});

describe('looking after an outbox', () => {
  const dead = async (s: string, ...ids: string[]) => {
    await enqueue(s, { tasks: ids.map((taskId) => ({ ...message, taskId })) });
    for (const { raw } of await claimed(s, 100)) {
      await h.work(s, 'nack', { body: { raw, permanent: true, reason: 'not on WhatsApp' } });
    }
  };

  test('says what waits', async () => {
    const s = fresh();
    expect((await h.manage('GET', `/api/sessions/${s}/outbox`)).body).toEqual({
      status: 'ok',
      queued: 0,
      processing: 0,
      delayed: 0,
      delayedForMs: 0,
      dead: 0,
      oldestAgeMs: null,
    });
    await dead(s, 'd1');
    await enqueue(s, { tasks: [message, message] });
    const [first] = await claimed(s);
    expect((await h.manage('GET', `/api/sessions/${s}/outbox`)).body).toMatchObject({
      queued: 1,
      processing: 1,
      dead: 1,
      delayed: 0,
      oldestAgeMs: expect.any(Number),
    });
    await h.work(s, 'nack', { body: { raw: first?.raw, delayMs: 60_000 } });
    expect((await h.manage('GET', `/api/sessions/${s}/outbox`)).body).toMatchObject({
      queued: 2,
      delayed: 1,
    });
  });

  test('shows the dead in pages, and replays them', async () => {
    const s = fresh();
    await dead(s, 'a', 'b', 'c');
    const page = await h.manage('GET', `/api/sessions/${s}/outbox/dead?limit=2`);
    expect(page.body).toMatchObject({
      tasks: [
        {
          taskId: 'c',
          task: { text: 'שלום' },
          reason: 'not on WhatsApp',
          attempts: 1,
          at: expect.any(String),
        },
        { taskId: 'b' },
      ],
      nextCursor: '2',
    });
    const rest = await h.manage('GET', `/api/sessions/${s}/outbox/dead?limit=2&cursor=2`);
    expect(rest.body).toMatchObject({ tasks: [{ taskId: 'a' }], nextCursor: null });
    const replay = `/api/sessions/${s}/outbox/dead/replay`;
    expect((await h.manage('POST', replay, { taskIds: ['b'] })).body).toEqual({ status: 'ok', replayed: 1 });
    expect((await h.manage('POST', replay)).body).toEqual({ status: 'ok', replayed: 2 });
    expect((await h.manage('POST', replay, {})).body).toEqual({ status: 'ok', replayed: 0 });
    expect((await claimed(s, 9)).map(({ task }) => (task as { taskId: string }).taskId)).toEqual([
      'b',
      'a',
      'c',
    ]);
    expect((await h.manage('POST', replay, { taskIds: 'b' })).status).toBe(400);
    expect((await h.manage('GET', `/api/sessions/${s}/outbox/dead?limit=x`)).status).toBe(400);
  });

  test('clears what is queued, says how many, and the ledger knows', async () => {
    const s = fresh();
    await enqueue(s, { tasks: ['a', 'b', 'c'].map((taskId) => ({ ...message, taskId })) });
    await claimed(s);
    expect((await h.manage('DELETE', `/api/sessions/${s}/outbox`)).body).toEqual({
      status: 'ok',
      cleared: 2,
    });
    await h.follower.drain();
    const rows = await h.database.db
      .selectFrom('tasks')
      .select(['id', 'state', 'reason'])
      .where('session_id', '=', s)
      .orderBy('id')
      .execute();
    expect(rows).toMatchObject([
      { id: 'a', state: 'claimed' },
      { id: 'b', state: 'cancelled', reason: 'the outbox was cleared' },
      { id: 'c', state: 'cancelled' },
    ]);
  });
});
