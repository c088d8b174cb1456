import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { EXIT } from '../../src/worker/exit-codes.ts';
import type { Worker } from '../../src/worker/worker.ts';
import { WorkerOrchestrator } from '../helpers/worker-orchestrator.ts';
import { httpProxy, pair, type Setting, socksProxy, startWorker, until } from './bench-worker.ts';

let simulator: Simulator;
let setting: Setting & { orchestrator: WorkerOrchestrator };
let orchestrator: WorkerOrchestrator;
let worker: Worker;
let session: string;
let phone: string;
let tests = 0;

beforeAll(async () => {
  simulator = await startSimulator({ settings: { requireProxy: true } });
});
afterAll(() => simulator.stop());

beforeEach(async () => {
  tests += 1;
  session = `s-c${tests}`;
  phone = `97250001${1000 + tests}`;
  orchestrator = new WorkerOrchestrator();
  await orchestrator.start();
  setting = { simulator, orchestrator, sessionId: session };
});

afterEach(async () => {
  await worker.stop();
  await orchestrator.stop();
  simulator.clearFaults();
});

const connected = (times: number) =>
  until(`connected ${times} times`, () => orchestrator.ofType('CONNECTED').length >= times);
const statuses = () =>
  orchestrator.ofType('STATUS_CHANGE').map(({ data }) => `${data.status} ${data.reason}`);
const simulated = () => simulator.sessions().find((each) => each.phone === phone);

async function start(timing: Parameters<typeof startWorker>[1] = {}): Promise<void> {
  worker = await startWorker(setting, timing);
  await pair(setting, phone);
}

async function sendOne(taskId: string): Promise<void> {
  const raw = orchestrator.enqueue({ mode: 'message', to: '972501111111', text: taskId, jobId: 'j', taskId });
  await until('acked', () => orchestrator.done.includes(raw));
}

test.each([408, 428, 500, 503, 515])('comes back after %i', async (code) => {
  await start();
  simulator.endSession(phone, code);
  await connected(2);
  await sendOne('t1');
  if (code !== 515) expect(statuses()[0]).toMatch(/^RECONNECTING /);
  expect(simulated()).toMatchObject({ connected: true, maxConnections: 1 });
});

test('401: reports that it is logged out, and ends', async () => {
  await start();
  simulator.endSession(phone, 401);
  expect(await worker.ended).toBe(EXIT.loggedOut);
  expect(statuses().at(-1)).toBe('LOGGED_OUT logged_out');
});

test('440 while another worker owns the session: ends at once, without a fight', async () => {
  await start({ replacedDelayMs: 300 });
  orchestrator.stale = true;
  simulator.endSession(phone, 440);
  expect(await worker.ended).toBe(EXIT.stale);
  await systemClock.sleep(500);
  expect(simulated()).toMatchObject({ connected: false, logins: 1 });
});

test('440 while the session is ours: one careful retry after a while', async () => {
  await start({ replacedDelayMs: 300 });
  const before = performance.now();
  simulator.endSession(phone, 440);
  await connected(2);
  expect(performance.now() - before).toBeGreaterThan(290);
  expect(statuses()).toContain('RECONNECTING replaced');
  simulator.endSession(phone, 440);
  await systemClock.sleep(1_000);
  expect(orchestrator.ofType('CONNECTED')).toHaveLength(2);
});

test('405: takes the version that the orchestrator recommends', async () => {
  await start();
  orchestrator.version = '2.3000.1099999999';
  simulator.addFault({ kind: 'login-failure', phone, code: 405, count: 1 });
  simulator.endSession(phone, 428);
  await connected(2);
  expect(statuses()).toContain('RECONNECTING version_refused');
});

test.each([
  ['http', httpProxy],
  ['socks5', socksProxy],
])('a wrong %s proxy password: says so, and connects when it is right', async (_, proxyOf) => {
  simulator.addFault({ kind: 'proxy-auth' });
  setting = { ...setting, proxyUrl: proxyOf(simulator) };
  worker = await startWorker(setting);
  await until('reported', () => statuses().length > 0);
  expect(statuses()[0]).toBe('RECONNECTING proxy_auth');
  simulator.clearFaults();
  await pair(setting, phone);
  expect(simulator.overview().directAttempts).toEqual({ chat: 0, media: 0 });
});

test('a server that says nothing is given up, and tried again', async () => {
  simulator.addFault({ kind: 'slow-handshake', delayMs: 20_000, count: 1 });
  worker = await startWorker(setting, { openTimeoutMs: 2_000 });
  await until('reported', () => statuses().includes('RECONNECTING watchdog'));
  await pair(setting, phone);
});

test('gives a pairing code, and logs out, on command', async () => {
  worker = await startWorker(setting, { intervalMs: 100 });
  orchestrator.commands.push({ id: 'c1', type: 'pairing_code', phone });
  await until('answered', () => orchestrator.commandResults.has('c1'));
  expect(orchestrator.commandResults.get('c1')).toEqual({
    ok: true,
    code: expect.stringMatching(/^[1-9A-Z]{4}-[1-9A-Z]{4}$/) as string,
  });
});

test('unlinks the device on command', async () => {
  await start({ intervalMs: 100 });
  orchestrator.commands.push({ id: 'c2', type: 'logout' });
  expect(await worker.ended).toBe(EXIT.loggedOut);
  expect(orchestrator.commandResults.get('c2')).toEqual({ ok: true });
  expect(statuses().at(-1)).toMatch(/^LOGGED_OUT/);
});

test('connects without a proxy only when told so', async () => {
  simulator.changeSettings({ requireProxy: false });
  setting = { ...setting, env: { PROXY_URL: '', ALLOW_DIRECT: 'true' } };
  await start();
  simulator.changeSettings({ requireProxy: true });
  expect(simulator.overview().directAttempts.chat).toBeGreaterThan(0);
  simulator.reset();
});
