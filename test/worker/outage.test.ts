import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { whatsappMessageId } from '../../src/kernel/ids.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { EXIT } from '../../src/worker/exit-codes.ts';
import type { Worker } from '../../src/worker/worker.ts';
import { WorkerOrchestrator } from '../helpers/worker-orchestrator.ts';
import { pair, type Setting, startWorker, until } from './bench-worker.ts';

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
  session = `s-o${tests}`;
  phone = `97250004${1000 + tests}`;
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
const simulated = () => simulator.sessions().find((each) => each.phone === phone);

async function start(timing: Parameters<typeof startWorker>[1] = {}): Promise<void> {
  worker = await startWorker(setting, timing);
  await pair(setting, phone);
}

async function sendOne(taskId: string): Promise<void> {
  const raw = orchestrator.enqueue({ mode: 'message', to: '972501111111', text: taskId, jobId: 'j', taskId });
  await until('acked', () => orchestrator.done.includes(raw));
}

test('a stale token ends the worker wherever it is noticed', async () => {
  await start({ intervalMs: 200 });
  orchestrator.stale = true;
  expect(await worker.ended).toBe(EXIT.stale);
  await until('gone', () => simulated()?.connected === false);
});

test('the orchestrator away for a short time: stays connected, and what was to be said arrives', async () => {
  await start({ intervalMs: 200, fenceMs: 1_500 });
  orchestrator.away = true;
  await simulator.sendInbound({ from: '972502222222', to: phone, text: 'are you there' });
  await systemClock.sleep(700);
  orchestrator.away = false;
  await until('the message', () => orchestrator.ofType('MESSAGE').length === 1);
  await sendOne('t1');
  expect(simulated()).toMatchObject({ connected: true, logins: 1 });
});

test('the orchestrator away for long: closes WhatsApp in time, and comes back', async () => {
  await start({ intervalMs: 200, fenceMs: 1_000 });
  const since = performance.now();
  orchestrator.away = true;
  await until('closed', () => simulated()?.connected === false);
  expect(performance.now() - since).toBeLessThan(2_500);
  await systemClock.sleep(500);
  expect(simulated()).toMatchObject({ connected: false });
  orchestrator.away = false;
  await connected(2);
  await sendOne('t1');
});

test('cut off in the middle of a send: the task goes out under its id when the orchestrator is back', async () => {
  await start({ intervalMs: 200, fenceMs: 1_000 });
  simulator.addFault({ kind: 'delay-ack', phone, delayMs: 4_000, count: 1 });
  const raw = orchestrator.enqueue({
    mode: 'message',
    to: '972501111112',
    text: 'x',
    jobId: 'j',
    taskId: 't9',
  });
  await until('claimed', () => orchestrator.processing.has(raw));
  orchestrator.away = true;
  await systemClock.sleep(2_500);
  orchestrator.away = false;
  await until('acked', () => orchestrator.done.includes(raw));
  expect(simulator.message(whatsappMessageId(session, 't9'))).toMatchObject({ arrivals: 2, accepted: true });
});
