import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { asWorker } from '../../helpers/http.ts';
import { isSigned, startReceiver } from '../../helpers/webhook-receiver.ts';
import { patient } from '../../patience.ts';
import { numbers, startWebhooks, upTo, type WebhookHarness } from './harness.ts';

const SOON = { timeout: patient(15_000), interval: 20 };
let h: WebhookHarness;
let receiver: Awaited<ReturnType<typeof startReceiver>>;
beforeEach(async () => {
  [h, receiver] = await Promise.all([startWebhooks(), startReceiver()]);
});
afterEach(async () => {
  await h.stop();
  await receiver.stop();
});

test('an incoming message is told as the contract says, with an id, and signed', async () => {
  const [first, second] = [randomBytes(32), randomBytes(24)];
  await h.session('s1', `${receiver.url}/hook?token=1`);
  await h.deliverer({ signingKeys: [first, second] }).service.start();
  await h.tell('s1', 7);
  await expect.poll(() => receiver.taken.length, SOON).toBe(1);
  const [received] = receiver.taken;
  expect(received?.path).toBe('/hook?token=1');
  expect(received?.event).toEqual({
    instance: 's1',
    timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    type: 'message',
    data: { id: 'm7', from: '972501234567', type: 'text', text: '7' },
  });
  expect(Object.keys(JSON.parse(received?.body ?? ''))).toEqual(['instance', 'timestamp', 'type', 'data']);
  expect(received?.headers).toMatchObject({
    'content-type': 'application/json',
    'webhook-id': expect.stringMatching(/^evt_[0-9a-f]{32}$/),
    'webhook-timestamp': expect.stringMatching(/^\d{10}$/),
  });
  for (const key of [first, second]) expect(isSigned(received!, key.toString('base64'))).toBe(true);
  expect(isSigned(received!, randomBytes(32).toString('base64'))).toBe(false);
  expect(isSigned({ ...received!, body: `${received?.body} ` }, first.toString('base64'))).toBe(false);
  // The receiver has said yes: nothing is left of it.
  await expect.poll(h.rows, SOON).toEqual({ waiting: 0, dead: 0 });
});

test('what becomes of a message is told, each step once, whichever way it comes about', async () => {
  await h.session('s1', receiver.url);
  await h.session('quiet', null);
  await h.deliverer().service.start();
  for (const sessionId of ['s1', 'quiet']) {
    const task = { mode: 'message', to: '972501234567', text: 'x', jobId: 'j' };
    const enqueued = await h.call('POST', `/api/sessions/${sessionId}/outbox/enqueue`, {
      tasks: [
        { ...task, taskId: 'a' },
        { ...task, taskId: 'b' },
      ],
    });
    expect(enqueued.status).toBe(200);
    const work = async (verb: string, body: unknown = {}) =>
      await h.call('POST', `/api/worker/sessions/${sessionId}/outbox/${verb}`, body, asWorker);
    const claim = async () => ((await work('claim?timeout=0')).body as { raw: string }).raw;
    await work('ack', { raw: await claim() });
    await work('nack', { raw: await claim(), permanent: true, reason: 'not on WhatsApp' });
    // All in one batch: read overtakes delivered, and comes again.
    for (const status of ['read', 'delivered', 'read'] as const) {
      await h.ledger.recordReceipt(sessionId, { taskId: 'a', status, atMs: Date.now() + 5000 });
    }
  }
  await h.follower.drain();
  await h.follower.drain();
  await expect.poll(() => receiver.taken.length, SOON).toBe(4);
  await expect.poll(h.rows, SOON).toEqual({ waiting: 0, dead: 0 });
  const told = receiver.taken.map(({ event }) => event);
  expect(told.every(({ type, instance }) => type === 'message.status' && instance === 's1')).toBe(true);
  expect(told.map(({ data }) => [data.taskId, data.status])).toEqual([
    ['a', 'sent'],
    ['a', 'delivered'],
    ['a', 'read'],
    ['b', 'failed'],
  ]);
  expect(told[0]?.data).toMatchObject({
    jobId: 'j',
    to: '972501234567',
    whatsappId: expect.stringMatching(/^3EB0[0-9A-F]{18}$/),
    attempts: 1,
    reason: null,
  });
  expect(told[3]?.data.reason).toBe('not on WhatsApp');
});

test('a receiver that is away for a while gets everything, in order per session, when it is back', async () => {
  for (const id of ['s1', 's2', 's3']) await h.session(id, `${receiver.url}/${id}`);
  await h.deliverer().service.start();
  await h.tell('s1', 0);
  await expect.poll(() => receiver.taken.length, SOON).toBe(1);
  await receiver.down();
  await Promise.all(['s1', 's2', 's3'].map((id) => h.tell(id, ...upTo(20).slice(1))));
  await new Promise((resolve) => setTimeout(resolve, 5000));
  const view = (await h.call('GET', '/api/sessions/s2/webhook')).body;
  expect(view).toMatchObject({
    webhook: { waiting: 19, dead: 0, signed: false, lastError: 'could not be reached: ECONNREFUSED' },
  });
  await receiver.up();
  await expect.poll(() => receiver.taken.length, SOON).toBe(58);
  for (const id of ['s1', 's2', 's3']) {
    const own = receiver.taken.filter(({ path }) => path === `/${id}`);
    expect(numbers(own)).toEqual(id === 's1' ? upTo(20) : upTo(20).slice(1));
  }
  const ids = receiver.taken.map(({ headers }) => headers['webhook-id']);
  expect(new Set(ids).size).toBe(58);
});

test('errors are tried again under the same id, and hold up what comes behind in their session alone', async () => {
  await h.session('bad', `${receiver.url}/bad`);
  await h.session('good', `${receiver.url}/good`);
  let failures = 2;
  receiver.answer = (received, res) => {
    const fails = received.path === '/bad' && failures > 0;
    if (fails) failures -= 1;
    else receiver.taken.push(received);
    res.writeHead(fails ? 500 : 200).end('whatever'.repeat(100_000));
  };
  await h.deliverer().service.start();
  await h.tell('bad', 0, 1);
  await h.tell('good', 0, 1);
  await expect.poll(() => receiver.taken.length, SOON).toBe(4);
  const bad = receiver.all.filter(({ path }) => path === '/bad');
  expect(numbers(bad)).toEqual([0, 0, 0, 1]);
  expect(new Set(bad.slice(0, 3).map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  expect(numbers(receiver.taken.filter(({ path }) => path === '/good'))).toEqual([0, 1]);
});

test('one that hangs is given up after the time, and delays nobody else', async () => {
  const slow = await startReceiver();
  slow.answer = () => undefined;
  try {
    for (let n = 0; n < 30; n += 1) await h.session(`slow${n}`, `${slow.url}/${n}`);
    await h.session('good', receiver.url);
    // Fewer places than sessions that hang.
    await h.deliverer({ timeoutMs: 3000, atOnce: 6, atOncePerHost: 4 }).service.start();
    for (let n = 0; n < 30; n += 1) await h.tell(`slow${n}`, 0);
    await expect.poll(() => slow.all.length, SOON).toBeGreaterThan(0);
    const startedAt = performance.now();
    await h.tell('good', ...upTo(20));
    await expect.poll(() => receiver.taken.length, SOON).toBe(20);
    expect(performance.now() - startedAt).toBeLessThan(2500);
    expect(slow.all.length).toBeLessThanOrEqual(4);
    const view = async () => (await h.call('GET', '/api/sessions/slow0/webhook')).body;
    await expect.poll(view, SOON).toMatchObject({ webhook: { lastError: 'no answer within 3000 ms' } });
  } finally {
    await h.stop();
    await slow.stop();
  }
});
