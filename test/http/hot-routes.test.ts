import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { silentLogger } from '../../src/kernel/log.ts';
import { type App, createApp } from '../../src/orchestrator/http/app.ts';
import { createAuthenticator } from '../../src/orchestrator/http/auth.ts';
import { classifyDependencyError } from '../../src/orchestrator/http/dependency-errors.ts';
import { createHttpMetrics, type HttpMetrics } from '../../src/orchestrator/http/metrics.ts';
import { createHttpServer } from '../../src/orchestrator/http/server.ts';
import { issueWorkerToken, verifyWorkerToken } from '../../src/orchestrator/http/worker-token.ts';
import { asManager, asWorker, TEST_API_KEY, TEST_WEBHOOK_SECRET } from '../helpers/http.ts';
import { patient } from '../patience.ts';
import { type OutboxHarness, startOutbox } from '../services/outbox/harness.ts';

interface Way {
  url: string;
  metrics: HttpMetrics;
  stop(): void;
}

let outbox: OutboxHarness;
let hot: Way;
let plain: Way;

/** Both ways of serving the same routes: with the hot ones before Express, and Express alone. */
beforeAll(async () => {
  outbox = await startOutbox();
  hot = await startWay((app) => createHttpServer(app));
  plain = await startWay((app) => createHttpServer({ ...app, listener: app.express }));
});

afterAll(async () => {
  hot.stop();
  plain.stop();
  await outbox.stop();
});

async function startWay(serve: (app: App) => Server): Promise<Way> {
  const metrics = createHttpMetrics();
  const app = createApp({
    modules: outbox.routes,
    auth: createAuthenticator({
      apiKey: TEST_API_KEY,
      webhookSecret: TEST_WEBHOOK_SECRET,
      verifyToken: (token) => verifyWorkerToken(TEST_WEBHOOK_SECRET, token),
      onFailure: () => undefined,
    }),
    log: silentLogger,
    version: '0.0.0',
    metrics,
    classify: classifyDependencyError,
  });
  const server = serve(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    metrics,
    stop: () => server.close().closeAllConnections(),
  };
}

const worker = '/api/worker/sessions/none/outbox';
const enqueue = '/api/sessions/none/outbox/enqueue';
const task = { mode: 'message', to: '972501234567', text: 'x', taskId: 'known' };
const token = issueWorkerToken(TEST_WEBHOOK_SECRET, 'none', 7);
const json = { 'content-type': 'application/json' };

const REQUESTS: [what: string, path: string, headers: Record<string, string>, body?: string][] = [
  ['an ack', `${worker}/ack`, asWorker, '{"raw":"a"}'],
  [
    'acks in another spelling',
    `${worker.toUpperCase().replace('NONE', 'none')}/ACK/`,
    asWorker,
    '{"raw":"a"}',
  ],
  ['a nack', `${worker}/nack`, asWorker, '{"raw":"a","delayMs":5}'],
  ['a touch of nothing', `${worker}/touch`, asWorker, '{"raw":"a"}'],
  ['a claim of nothing', `${worker}/claim?timeout=0`, asWorker],
  ['a claim of nothing, many', `${worker}/claim?timeout=0&max=3`, asWorker],
  ['a claim with a body', `${worker}/claim?timeout=0`, asWorker, '{"x":1}'],
  ['next', `${worker}/next?timeout=0`, asWorker, '{"raw":"a"}'],
  ['next without an ack', `${worker}/next?timeout=0&max=2`, asWorker, '{}'],
  ['next of both', `${worker}/next?timeout=0`, asWorker, '{"raw":"a","raws":["b"]}'],
  ['an own token', `${worker}/ack`, { 'x-webhook-secret': token, ...json }, '{"raw":"a"}'],
  [
    'the token of another',
    '/api/worker/sessions/other/outbox/ack',
    { 'x-webhook-secret': token, ...json },
    '{}',
  ],
  ['no key', `${worker}/ack`, json, '{"raw":"a"}'],
  ['a wrong key', `${worker}/claim`, { 'x-webhook-secret': 'no' }],
  ['a wrong key with a comma', `${worker}/claim`, { 'x-webhook-secret': 'no, no' }],
  ['the key of the other side', enqueue, asWorker, JSON.stringify(task)],
  ['a task that is known', enqueue, asManager, JSON.stringify(task)],
  ['a task with a wrong field', enqueue, asManager, '{"mode":"message","to":"1","text":"x"}'],
  ['a deleted session', '/api/sessions/deleted1/outbox/enqueue', asManager, JSON.stringify(task)],
  ['a wrong query', `${worker}/claim?timeout=99`, asWorker],
  ['a query twice', `${worker}/claim?timeout=0&timeout=1`, asWorker],
  ['a wrong header', `${worker}/claim?timeout=0`, { ...asWorker, 'x-claim-request': 'a b' }],
  ['a wrong id', '/api/worker/sessions/-x/outbox/claim', asWorker],
  ['an id that would be a list of another', '/api/worker/sessions/processing:x/outbox/claim', asWorker],
  ['a wrong id and a wrong query', '/api/worker/sessions/-x/outbox/claim?timeout=x', asWorker],
  ['a wrong query and no key', `${worker}/claim?timeout=99`, {}],
  ['a wrong query and broken JSON', `${worker}/next?timeout=99`, asWorker, '{"raw":'],
  ['a query that the route does not know', `${worker}/ack?x=1`, asWorker, '{"raw":"a"}'],
  ['an encoded id', '/api/worker/sessions/%6Eone/outbox/claim?timeout=0', asWorker],
  ['an id that cannot be decoded', '/api/worker/sessions/%zz/outbox/claim', asWorker],
  ['an unknown action', `${worker}/eat`, asWorker, '{}'],
  ['broken JSON', `${worker}/ack`, asWorker, '{"raw":'],
  ['JSON that is no object', `${worker}/ack`, asWorker, '7'],
  ['JSON with a byte order mark', `${worker}/ack`, asWorker, '\uFEFF{"raw":"a"}'],
  ['no body', `${worker}/ack`, asWorker],
  ['another content type', `${worker}/ack`, { ...asWorker, 'content-type': 'text/plain' }, '{"raw":"a"}'],
  [
    'another charset',
    `${worker}/ack`,
    { ...asWorker, 'content-type': 'application/json; charset=latin1' },
    '{}',
  ],
  ['an encoding that is none', `${worker}/ack`, { ...asWorker, 'content-encoding': 'x' }, '{}'],
  ['too large a body', `${worker}/ack`, asWorker, `{"raw":"${'x'.repeat(16 * 1024 * 1024)}"}`],
  ['too long a raw', `${worker}/ack`, asWorker, `{"raw":"${'x'.repeat(4 * 1024 * 1024 + 1)}"}`],
];

async function ask({ url }: Way, path: string, headers: Record<string, string>, body?: string) {
  const answer = await fetch(url + path, {
    method: 'POST',
    headers: { 'x-request-id': 'same', ...headers },
    ...(body === undefined ? {} : { body }),
  });
  const own = [...answer.headers].filter(([name]) => name !== 'date');
  return { status: answer.status, headers: Object.fromEntries(own), body: await answer.text() };
}

it.each(REQUESTS)('answers %s in one way, by either path', async (_what, path, headers, body) => {
  if (path === enqueue) await ask(plain, enqueue, asManager, JSON.stringify(task));
  const byHot = await ask(hot, path, headers, body);
  const byExpress = await ask(plain, path, headers, body);
  expect(byHot).toEqual(byExpress);
  if (path === enqueue) await outbox.manage('DELETE', '/api/sessions/none/outbox');
});

it('makes a request id where none is given, on either path', async () => {
  for (const way of [hot, plain]) {
    const answer = await fetch(`${way.url}${worker}/claim?timeout=0`, { method: 'POST', headers: asWorker });
    expect(answer.headers.get('x-request-id')).toMatch(/^[\w-]{36}$/);
  }
});

it('counts the same requests under the same names', async () => {
  const counted = async ({ metrics }: Way) =>
    (await metrics.registry.getSingleMetricAsString('flotilla_http_requests_total'))
      .split('\n')
      .filter((line) => line.includes('/outbox/') && !line.includes('/enqueue'))
      .sort();
  // What is refused early is counted when the rest of its body has been read.
  await vi.waitFor(async () => expect(await counted(hot)).toEqual(await counted(plain)), patient(5000));
});

it('acknowledges and claims in one request', async () => {
  const tasks = ['n1', 'n2', 'n3'].map((taskId) => ({ ...task, taskId }));
  await outbox.manage('POST', '/api/sessions/next1/outbox/enqueue', { tasks });
  const next = async (body: object, query = 'timeout=0') =>
    (await outbox.work('next1', `next?${query}`, { body })).body;
  const first = await next({});
  expect(first).toMatchObject({ task: { taskId: 'n1' }, attempt: 1 });
  expect(first).not.toHaveProperty('acked');
  // Not acknowledged: the lease holds.
  expect(await next({})).toEqual({ status: 'ok', task: null });
  const second = await next({ raw: first.raw });
  expect(second).toMatchObject({ acked: true, task: { taskId: 'n2' } });
  // A repeat of the whole: the ack is idempotent, the lease of the second holds.
  expect(await next({ raw: first.raw })).toEqual({ status: 'ok', task: null, acked: true });
  const third = await next({ raws: [second.raw] }, 'timeout=0&max=5');
  expect(third).toMatchObject({ acked: true, tasks: [{ task: { taskId: 'n3' } }] });
  expect(await next({ raw: third.tasks?.[0]?.raw })).toEqual({ status: 'ok', task: null, acked: true });
  await outbox.follower.drain();
  const rows = await outbox.database.db
    .selectFrom('tasks')
    .select('state')
    .where('session_id', '=', 'next1')
    .execute();
  expect(rows.map(({ state }) => state)).toEqual(['sent', 'sent', 'sent']);
});

it('acknowledges also where the claim is refused', async () => {
  await outbox.manage('POST', '/api/sessions/next2/outbox/enqueue', { tasks: [task] });
  const first = await outbox.work('next2', 'next?timeout=0', { body: {}, epoch: 5 });
  expect(first.body).toMatchObject({ task: { taskId: 'known' } });
  await outbox.work('next2', 'claim?timeout=0', { epoch: 6 });
  const late = await outbox.work('next2', 'next?timeout=0', { body: { raw: first.body.raw }, epoch: 5 });
  expect(late).toMatchObject({ status: 409, body: { code: 'stale_epoch' } });
  const status = await outbox.manage('GET', '/api/sessions/next2/outbox');
  expect(status.body).toMatchObject({ queued: 0, processing: 0 });
});
