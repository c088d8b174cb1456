import { createHash, randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { whatsappMessageId } from '../../src/kernel/ids.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { EXIT } from '../../src/worker/exit-codes.ts';
import type { Worker } from '../../src/worker/worker.ts';
import { WorkerOrchestrator } from '../helpers/worker-orchestrator.ts';
import { pair, type Setting, socksProxy, startWorker, until } from './bench-worker.ts';

const PNG = Buffer.concat([
  Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==',
    'base64',
  ),
  randomBytes(50_000),
]);

let simulator: Simulator;
let setting: Setting & { orchestrator: WorkerOrchestrator };
let orchestrator: WorkerOrchestrator;
let worker: Worker;
let session: string;
let phone: string;
let to: string;
let tests = 0;

beforeAll(async () => {
  simulator = await startSimulator({
    settings: { requireProxy: true, receipts: { deliveredAfterMs: 20, readAfterMs: 60 } },
  });
});
afterAll(() => simulator.stop());

beforeEach(async () => {
  tests += 1;
  session = `s-${tests}`;
  phone = `97250000${1000 + tests}`;
  to = `97250123${1000 + tests}`;
  orchestrator = new WorkerOrchestrator();
  await orchestrator.start();
  setting = { simulator, orchestrator, sessionId: session };
  worker = await startWorker(setting);
  await pair(setting, phone);
});

afterEach(async () => {
  await worker.stop();
  await orchestrator.stop();
  simulator.clearFaults();
});

const text = (taskId: string, words = 'shalom') => ({ mode: 'message', to, text: words, jobId: 'j', taskId });
const image = (taskId: string) => ({
  mode: 'image',
  to,
  mediaRef: 'a.png',
  mediaPath: '/x',
  jobId: 'j',
  taskId,
});
const idOf = (taskId: string) => whatsappMessageId(session, taskId);
const acked = (raw: string) => until('acked', () => orchestrator.done.includes(raw));

test('sends a text, acks it, and reports its receipts as they rise', async () => {
  await acked(orchestrator.enqueue(text('t1', 'שלום')));
  expect(simulator.message(idOf('t1'))).toMatchObject({ text: 'שלום', arrivals: 1, accepted: true });
  await until('read', () => orchestrator.ofType('RECEIPT').some(({ data }) => data.status === 'read'));
  const last = orchestrator.ofType('RECEIPT').at(-1)?.data;
  expect(last).toMatchObject({ taskId: 't1', whatsappId: idOf('t1'), status: 'read' });
  expect(orchestrator.ofType('CONNECTED')[0]?.data).toMatchObject({
    phoneNumber: phone,
    jid: `${phone}@s.whatsapp.net`,
  });
});

test('sends an image byte for byte, and uploads it once however many get it', async () => {
  orchestrator.media.set('a.png', PNG);
  const uploads = simulator.overview().mediaUploads;
  const raws = ['i1', 'i2', 'i3'].map((taskId) => orchestrator.enqueue(image(taskId)));
  for (const raw of raws) await acked(raw);
  expect(simulator.messageMedia(idOf('i1'))?.equals(PNG)).toBe(true);
  const imageSha256 = createHash('sha256').update(PNG).digest('hex');
  expect(simulator.message(idOf('i3'))).toMatchObject({ kind: 'image', imageSha256 });
  expect(simulator.message(idOf('i3'))?.text ?? '').toBe('');
  expect(simulator.overview().mediaUploads).toBe(uploads + 1);
  expect(orchestrator.mediaFetches).toBe(1);
});

test('an upload that fails is tried again', async () => {
  orchestrator.media.set('a.png', PNG);
  simulator.addFault({ kind: 'media-upload', phone, code: 500, count: 1 });
  await acked(orchestrator.enqueue(image('i1')));
  expect(simulator.messageMedia(idOf('i1'))?.equals(PNG)).toBe(true);
});

test('sends again under the same id when the ack was lost with the connection', async () => {
  simulator.addFault({ kind: 'drop-before-ack', phone, count: 1 });
  await acked(orchestrator.enqueue(text('t1')));
  expect(simulator.message(idOf('t1'))).toMatchObject({ arrivals: 2, accepted: true });
  expect(simulator.messages().messages.filter((message) => message.from === phone)).toHaveLength(1);
});

test('sends again when the connection broke before the message arrived', async () => {
  simulator.addFault({ kind: 'drop-before-record', phone, count: 1 });
  await acked(orchestrator.enqueue(text('t1')));
  expect(simulator.message(idOf('t1'))).toMatchObject({ arrivals: 1, accepted: true });
});

test('notices a connection that is open and dead, and sends over a new one', async () => {
  simulator.addFault({ kind: 'half-open', phone, count: 1 });
  await acked(orchestrator.enqueue(text('t1')));
  expect(simulator.message(idOf('t1'))).toMatchObject({ accepted: true });
});

test('a late ack is no ack: the task goes out again under the same id', async () => {
  simulator.addFault({ kind: 'delay-ack', phone, count: 1, delayMs: 2_500 });
  await acked(orchestrator.enqueue(text('t1')));
  expect(simulator.message(idOf('t1'))).toMatchObject({ arrivals: 2 });
});

test('463 is final, with a reason for a person', async () => {
  simulator.addFault({ kind: 'nack', phone, code: 463, count: 1 });
  const raw = orchestrator.enqueue(text('t1'));
  const next = orchestrator.enqueue(text('t2'));
  await acked(next);
  expect(orchestrator.dead.get(raw)).toMatch(/reachout_timelock: .*463/);
  expect(simulator.message(idOf('t1'))).toMatchObject({ arrivals: 1, accepted: false });
});

test('a number that is not on WhatsApp is final, and nothing is sent to it', async () => {
  simulator.changePerson(to, { onWhatsApp: false });
  const raw = orchestrator.enqueue(text('t1'));
  await until('dead', () => orchestrator.dead.has(raw));
  expect(orchestrator.dead.get(raw)).toMatch(/not_on_whatsapp: .*not on WhatsApp/);
  expect(simulator.message(idOf('t1'))).toBeUndefined();
});

test('a task that is none is final, and the next one goes out', async () => {
  const raws = [
    { mode: 'message', to: '12' },
    { mode: 'video', to },
    { mode: 'image', to },
  ].map((task) => orchestrator.enqueue(task));
  const missing = orchestrator.enqueue(image('i9'));
  await acked(orchestrator.enqueue(text('t1')));
  for (const raw of raws) expect(orchestrator.dead.get(raw)).toMatch(/cannot be sent/);
  expect(orchestrator.dead.get(missing)).toMatch(/media_missing/);
});

test('a task without an id gets one from its bytes', async () => {
  const raw = orchestrator.enqueue({ mode: 'message', to, text: 'pushed by hand' });
  await acked(raw);
  const digest = createHash('sha256').update(raw).digest('hex');
  expect(simulator.message(idOf(`raw:${digest}`))).toMatchObject({ text: 'pushed by hand' });
});

test('a redelivery of what WhatsApp has confirmed is acked without being sent', async () => {
  const raw = orchestrator.enqueue(text('t1'));
  await acked(raw);
  orchestrator.queue.push(raw);
  await acked(orchestrator.enqueue(text('t2')));
  expect(orchestrator.done.filter((each) => each === raw)).toHaveLength(2);
  expect(simulator.message(idOf('t1'))).toMatchObject({ arrivals: 1 });
});

test('an ack whose answer is lost is said again', async () => {
  orchestrator.lostAcks = 2;
  const raw = orchestrator.enqueue(text('t1'));
  await until('three acks', () => orchestrator.says.filter((say) => say.kind === 'ack').length === 3);
  expect(orchestrator.done).toEqual([raw]);
});

test('a recipient who could not read gets the message again', async () => {
  simulator.addFault({ kind: 'ask-retry', phone, count: 1 });
  await acked(orchestrator.enqueue(text('t1')));
  await until('the second', () => (simulator.message(idOf('t1'))?.arrivals ?? 0) === 2);
  expect(simulator.message(idOf('t1'))).toMatchObject({ retriesAsked: 1, accepted: true });
});

test('reports an inbound message once', async () => {
  const { id } = await simulator.sendInbound({ from: to, to: phone, text: 'hello back' });
  await until('reported', () => orchestrator.ofType('MESSAGE').length > 0);
  expect(orchestrator.ofType('MESSAGE')[0]?.data).toMatchObject({
    id,
    from: to,
    type: 'text',
    text: 'hello back',
  });
});

test('logs in again without a new QR code, also through a SOCKS proxy, and goes on with the same keys', async () => {
  await acked(orchestrator.enqueue(text('t1')));
  await worker.stop();
  expect(await worker.ended).toBe(EXIT.stopped);
  expect(orchestrator.events.at(-1)).toMatchObject({
    type: 'STATUS_CHANGE',
    data: { status: 'SHUTTING_DOWN' },
  });
  const codes = orchestrator.ofType('QR_UPDATE').length;
  worker = await startWorker({ ...setting, proxyUrl: socksProxy(simulator) });
  await until('connected again', () => orchestrator.ofType('CONNECTED').length === 2);
  orchestrator.media.set('a.png', PNG);
  orchestrator.enqueue(image('i1'));
  await acked(orchestrator.enqueue(text('t2')));
  expect(orchestrator.ofType('QR_UPDATE')).toHaveLength(codes);
  expect(simulator.messageMedia(idOf('i1'))?.equals(PNG)).toBe(true);
  expect(simulator.overview()).toMatchObject({
    undecryptable: 0,
    mediaDetours: 0,
    directAttempts: { chat: 0, media: 0 },
  });
});

test('answers a retry request for a message that an earlier process sent', async () => {
  await acked(orchestrator.enqueue(text('t1')));
  await worker.stop();
  worker = await startWorker(setting);
  await until('connected again', () => orchestrator.ofType('CONNECTED').length === 2);
  // The same task once more, from an orchestrator that lost the ack: the same message, not one that is built anew.
  simulator.addFault({ kind: 'ask-retry', phone, count: 1 });
  await acked(orchestrator.enqueue(text('t1')));
  await until('three arrivals', () => simulator.message(idOf('t1'))?.arrivals === 3);
});

test('the auth store failing for a while delays the ack and loses nothing', async () => {
  orchestrator.authFailures = Number.POSITIVE_INFINITY;
  const raw = orchestrator.enqueue(text('t1'));
  await until('sent', () => simulator.message(idOf('t1'))?.accepted === true);
  await systemClock.sleep(300);
  expect(orchestrator.done).toHaveLength(0);
  orchestrator.authFailures = 0;
  await acked(raw);
  expect(simulator.message(idOf('t1'))).toMatchObject({ arrivals: 1 });
});
