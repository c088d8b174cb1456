import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keys } from '../../../../src/infra/redis/keys.ts';
import { type OutboxHarness, startOutbox } from '../../../services/outbox/harness.ts';

let h: OutboxHarness;
let sessions = 0;
const fresh = (): string => `s${++sessions}`;
beforeAll(async () => {
  h = await startOutbox();
});
afterAll(() => h.stop());

const enqueue = (session: string, ...ids: string[]) =>
  h.manage('POST', `/api/sessions/${session}/outbox/enqueue`, {
    tasks: ids.map((taskId) => ({ mode: 'message', to: '972501234567', text: 'hi', taskId })),
  });

describe('POST …/outbox/claim', () => {
  test('answers as the contract says', async () => {
    const s = fresh();
    expect((await h.work(s, 'claim?timeout=0')).body).toEqual({ status: 'ok', task: null });
    await enqueue(s, 'a');
    const { body } = await h.work(s, 'claim?timeout=0');
    expect(body).toEqual({
      status: 'ok',
      task: { taskId: 'a', mode: 'message', to: '972501234567', text: 'hi' },
      raw: '{"taskId":"a","mode":"message","to":"972501234567","text":"hi"}',
      claimId: expect.any(String),
      attempt: 1,
      leaseMs: 60_000,
      leaseUntil: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(await h.redis.lrange(keys.outboxProcessing(s), 0, -1)).toEqual([body.raw]);
  });

  test('with max answers a list', async () => {
    const s = fresh();
    expect((await h.work(s, 'claim?timeout=0&max=16')).body).toEqual({ status: 'ok', task: null, tasks: [] });
    await enqueue(s, 'a', 'b', 'c');
    const { body } = await h.work(s, 'claim?timeout=0&max=2');
    expect(body.tasks).toMatchObject([
      { task: { taskId: 'a' }, raw: expect.any(String), attempt: 1 },
      { task: { taskId: 'b' }, raw: expect.any(String), attempt: 1 },
    ]);
    expect(body.tasks?.[0]?.claimId).toBe(body.tasks?.[1]?.claimId);
    expect('task' in body).toBe(false);
  });

  test('waits, and is served when a task comes', async () => {
    const s = fresh();
    const started = performance.now();
    const answer = h.work(s, 'claim?timeout=10');
    setTimeout(() => void enqueue(s, 'a'), 150);
    expect((await answer).body).toMatchObject({ task: { taskId: 'a' } });
    expect(performance.now() - started).toBeLessThan(1500);
  });

  test('answers nothing when the time is over, and not before', async () => {
    const started = performance.now();
    expect((await h.work(fresh(), 'claim?timeout=1')).body).toEqual({ status: 'ok', task: null });
    expect(performance.now() - started).toBeGreaterThan(990);
    expect(performance.now() - started).toBeLessThan(1600);
  });

  test.each(['abc', '-1', '1e9', '56', '1.5', '', ' 5', '0x10', '5&timeout=6'])(
    'refuses timeout=%s by name',
    async (timeout) => {
      const answer = await h.work(fresh(), `claim?timeout=${timeout}`);
      expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request', field: 'timeout' } });
      expect(answer.body.reason).toContain('timeout');
    },
  );

  test.each(['0', '101', 'x', '-3'])('refuses max=%s by name', async (max) => {
    expect(await h.work(fresh(), `claim?timeout=0&max=${max}`)).toMatchObject({
      status: 400,
      body: { field: 'max' },
    });
  });

  test('refuses a request id that is none', async () => {
    expect(await h.work(fresh(), 'claim?timeout=0', { request: 'a b' })).toMatchObject({
      status: 400,
      body: { field: 'X-Claim-Request' },
    });
  });

  test('is repeatable under a request id', async () => {
    const s = fresh();
    await enqueue(s, 'a', 'b');
    const epoch = await h.outbox.takeOwnership(s);
    const first = await h.work(s, 'claim?timeout=0', { epoch, request: 'r1' });
    const again = await h.work(s, 'claim?timeout=0', { epoch, request: 'r1' });
    expect(again.body).toMatchObject({ claimId: first.body.claimId, attempt: 1, task: { taskId: 'a' } });
  });

  test('knows each session by its own secret', async () => {
    const s = fresh();
    const url = `${h.http.url}/api/worker/sessions/${s}/outbox/claim?timeout=0`;
    for (const headers of [
      {},
      { 'x-webhook-secret': 'wrong' },
      { 'x-webhook-secret': `v1~${s}~1~forged` },
      { 'x-api-key': 'test-api-key' },
    ]) {
      expect((await fetch(url, { method: 'POST', headers })).status).toBe(401);
    }
    const epoch = await h.outbox.takeOwnership('another');
    const token = await h.work('another', 'claim?timeout=0', { epoch });
    expect(token.status).toBe(200);
    const { issueWorkerToken } = await import('../../../../src/orchestrator/http/worker-token.ts');
    const { TEST_WEBHOOK_SECRET } = await import('../../../helpers/http.ts');
    const headers = { 'x-webhook-secret': issueWorkerToken(TEST_WEBHOOK_SECRET, 'another', epoch) };
    expect((await fetch(url, { method: 'POST', headers })).status).toBe(403);
  });

  test('tells a replaced worker so, also one that waits already', async () => {
    const s = fresh();
    const old = await h.outbox.takeOwnership(s);
    const waiting = h.work(s, 'claim?timeout=20', { epoch: old });
    await new Promise((resolve) => setTimeout(resolve, 100));
    const epoch = await h.outbox.takeOwnership(s);
    expect(await waiting).toMatchObject({ status: 409, body: { code: 'stale_epoch' } });
    expect(await h.work(s, 'claim?timeout=0', { epoch: old })).toMatchObject({ status: 409 });
    expect((await waiting).body.reason).not.toContain(String(epoch));
  });

  test('serves what is pushed by hand, also to a poll that waits', async () => {
    const s = fresh();
    const started = performance.now();
    const answer = h.work(s, 'claim?timeout=10');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await h.redis.lpush(`session:outbox:${s}`, 'by hand');
    expect((await answer).body).toMatchObject({ task: 'by hand', raw: 'by hand' });
    expect(performance.now() - started).toBeLessThan(2200);
    expect((await h.work(s, 'ack', { body: { raw: 'by hand' } })).body).toEqual({
      status: 'ok',
      acked: true,
    });
  });

  test('a poll whose client has gone claims nothing', async () => {
    const s = fresh();
    const { port } = new URL(h.http.url);
    const socket = connect(Number(port), '127.0.0.1');
    socket.write(
      `POST /api/worker/sessions/${s}/outbox/claim?timeout=30 HTTP/1.1\r\nHost: x\r\n` +
        'X-Webhook-Secret: test-webhook-secret\r\nContent-Length: 0\r\n\r\n',
    );
    await expect.poll(() => h.hub.waiting).toBe(1);
    socket.destroy();
    await expect.poll(() => h.hub.waiting).toBe(0);
    await enqueue(s, 'a');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await h.redis.llen(keys.outbox(s))).toBe(1);
    expect((await h.work(s, 'claim?timeout=0')).body).toMatchObject({ attempt: 1 });
  });

  test('with no header but the secret is at-least-once', async () => {
    const s = fresh();
    await enqueue(s, 'a', 'b');
    expect((await h.work(s, 'claim?timeout=0')).body).toMatchObject({ task: { taskId: 'a' } });
    expect((await h.work(s, 'claim?timeout=0')).body).toEqual({ status: 'ok', task: null });
    h.jump(60_000);
    expect((await h.work(s, 'claim?timeout=0')).body).toMatchObject({ task: { taskId: 'a' }, attempt: 2 });
  });
});

describe('ack, nack and touch', () => {
  const held = async (s: string): Promise<string> => {
    await enqueue(s, 'a', 'b');
    return (await h.work(s, 'claim?timeout=0')).body.raw as string;
  };

  test('an ack is 200 however often it comes, and whatever it names', async () => {
    const s = fresh();
    const raw = await held(s);
    for (let n = 0; n < 3; n++) {
      expect(await h.work(s, 'ack', { body: { raw } })).toMatchObject({
        status: 200,
        body: { status: 'ok', acked: true },
      });
    }
    expect((await h.work(s, 'ack', { body: { raw: '{"never":"seen"}' } })).body.acked).toBe(true);
    expect((await h.manage('GET', `/api/sessions/${s}/outbox`)).body).toMatchObject({
      queued: 1,
      processing: 0,
    });
  });

  test('acks many at once', async () => {
    const s = fresh();
    await enqueue(s, 'a', 'b', 'c');
    const { tasks = [] } = (await h.work(s, 'claim?timeout=0&max=3')).body;
    await h.work(s, 'ack', { body: { raws: tasks.map(({ raw }) => raw) } });
    expect((await h.manage('GET', `/api/sessions/${s}/outbox`)).body).toMatchObject({
      queued: 0,
      processing: 0,
    });
  });

  test.each<[string, unknown]>([
    ['no raw', {}],
    ['a raw that is an object', { raw: { taskId: 'a' } }],
    ['an empty raw', { raw: '' }],
    ['raw and raws', { raw: 'a', raws: ['a'] }],
    ['no raws', { raws: [] }],
    ['raws with a number', { raws: ['a', 5] }],
    ['a raw that is too large', { raw: 'x'.repeat(4 * 1024 * 1024 + 1) }],
    ['a list', ['a']],
    ['a WhatsApp id that is none', { raw: 'a', whatsappId: 'a b' }],
  ])('refuses an ack with %s', async (_, body) => {
    expect(await h.work(fresh(), 'ack', { body })).toMatchObject({
      status: 400,
      body: { code: 'invalid_request' },
    });
  });

  test('an ack without a body is refused', async () => {
    expect((await h.work(fresh(), 'ack')).status).toBe(400);
  });

  test('a nack requeues once, however often it is said', async () => {
    const s = fresh();
    const raw = await held(s);
    expect((await h.work(s, 'nack', { body: { raw } })).body).toEqual({
      status: 'ok',
      requeued: true,
      dead: false,
    });
    expect((await h.work(s, 'nack', { body: { raw } })).body).toEqual({
      status: 'ok',
      requeued: false,
      dead: false,
    });
    expect(await h.redis.llen(keys.outbox(s))).toBe(2);
  });

  test('a nack of a replaced worker is refused', async () => {
    const s = fresh();
    await enqueue(s, 'a');
    const epoch = await h.outbox.takeOwnership(s);
    const { raw } = (await h.work(s, 'claim?timeout=0', { epoch })).body;
    await h.outbox.takeOwnership(s);
    for (const action of ['nack', 'touch']) {
      expect(await h.work(s, action, { epoch, body: { raw } })).toMatchObject({
        status: 409,
        body: { code: 'stale_epoch' },
      });
    }
    // But what it has sent is sent.
    expect((await h.work(s, 'ack', { epoch, body: { raw } })).status).toBe(200);
    expect((await h.manage('GET', `/api/sessions/${s}/outbox`)).body).toMatchObject({
      queued: 0,
      processing: 0,
    });
  });

  test('a delay holds the line, and a waiting poll is served when it is over', async () => {
    const s = fresh();
    const raw = await held(s);
    await h.work(s, 'nack', { body: { raw, delayMs: 400, reason: 'slow down' } });
    const started = performance.now();
    expect((await h.work(s, 'claim?timeout=0')).body.task).toBe(null);
    expect((await h.work(s, 'claim?timeout=5')).body).toMatchObject({ task: { taskId: 'a' }, attempt: 2 });
    expect(performance.now() - started).toBeGreaterThan(300);
    expect(performance.now() - started).toBeLessThan(1500);
  });

  test.each<[string, unknown]>([
    ['a negative delay', { raw: 'a', delayMs: -1 }],
    ['a delay in words', { raw: 'a', delayMs: 'soon' }],
    ['a delay without end', { raw: 'a', delayMs: 1e15 }],
    ['permanent in words', { raw: 'a', permanent: 'yes' }],
    ['no raw', { delayMs: 1 }],
  ])('refuses a nack with %s', async (_, body) => {
    expect((await h.work(fresh(), 'nack', { body })).status).toBe(400);
  });

  test('touch extends, and says when it is too late', async () => {
    const s = fresh();
    const raw = await held(s);
    expect((await h.work(s, 'touch', { body: { raw } })).body).toEqual({
      status: 'ok',
      leaseMs: 60_000,
      leaseUntil: expect.any(String),
    });
    await h.work(s, 'ack', { body: { raw } });
    expect(await h.work(s, 'touch', { body: { raws: [raw] } })).toMatchObject({
      status: 409,
      body: { code: 'claim_lost', lost: [0] },
    });
  });
});
