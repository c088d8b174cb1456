import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../src/kernel/clock.ts';
import { whatsappMessageId } from '../../src/kernel/ids.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { EXIT } from '../../src/worker/exit-codes.ts';
import { silenceConsole } from '../../src/worker/silence-console.ts';
import { WorkerOrchestrator } from '../helpers/worker-orchestrator.ts';
import { pair, type Setting, spawnWorker, until, type WorkerProcess, workerEnv } from './bench-worker.ts';

const TO = '972503333333';

let simulator: Simulator;
let setting: Setting & { orchestrator: WorkerOrchestrator };
let orchestrator: WorkerOrchestrator;
let running: WorkerProcess[] = [];
let session: string;
let phone: string;
let tests = 0;

beforeAll(async () => {
  // The simulated phones use libsignal, too, which prints its keys.
  silenceConsole();
  simulator = await startSimulator({ settings: { requireProxy: true } });
});
afterAll(() => simulator.stop());

beforeEach(async () => {
  tests += 1;
  session = `s-p${tests}`;
  phone = `97250002${1000 + tests}`;
  orchestrator = new WorkerOrchestrator();
  await orchestrator.start();
  setting = { simulator, orchestrator, sessionId: session };
});

afterEach(async () => {
  for (const each of running) each.child.kill('SIGKILL');
  await Promise.all(running.map((each) => each.exited));
  running = [];
  await orchestrator.stop();
  simulator.clearFaults();
});

function start(env: Record<string, string> = {}): WorkerProcess {
  const worker = spawnWorker({ ...workerEnv(setting), ...env });
  running.push(worker);
  return worker;
}

const task = (taskId: string) => ({ mode: 'message', to: TO, text: 'a secret text', jobId: 'j', taskId });
const message = (taskId: string) => simulator.message(whatsappMessageId(session, taskId));
const acked = (raw: string) => until('acked', () => orchestrator.done.includes(raw));

test('SIGTERM: finishes the message in flight, says goodbye, exits in time; the log tells nothing personal', async () => {
  const worker = start({ LOG_LEVEL: 'debug' });
  await pair(setting, phone);
  simulator.addFault({ kind: 'delay-ack', phone, delayMs: 1_500, count: 1 });
  const raw = orchestrator.enqueue(task('t1'));
  const next = orchestrator.enqueue(task('t2'));
  await until('arrived', () => message('t1') !== undefined);
  const since = performance.now();
  worker.child.kill('SIGTERM');
  expect(await worker.exited).toBe(EXIT.stopped);
  expect(performance.now() - since).toBeLessThan(9_000);
  expect(orchestrator.done).toEqual([raw]);
  expect(orchestrator.queue).toEqual([next]);
  expect(orchestrator.events.at(-1)).toMatchObject({ data: { status: 'SHUTTING_DOWN' } });
  const output = worker.output();
  expect(output).toContain('"connected"');
  for (const secret of [phone, TO, 'a secret text', 'token-of-the-test', 'privKey', 'Buffer']) {
    expect(output).not.toContain(secret);
  }
});

test('SIGTERM: gives back a message that does not get its ack, and does not count it', async () => {
  const worker = start();
  await pair(setting, phone);
  simulator.addFault({ kind: 'half-open', phone });
  const raw = orchestrator.enqueue(task('t1'));
  await until('claimed', () => orchestrator.processing.has(raw));
  await systemClock.sleep(300);
  const since = performance.now();
  worker.child.kill('SIGTERM');
  expect(await worker.exited).toBe(EXIT.stopped);
  expect(performance.now() - since).toBeLessThan(10_000);
  await until('queued again', () => orchestrator.queue.includes(raw));
  expect(orchestrator.says.find(({ kind }) => kind === 'nack')?.body).toMatchObject({ countAttempt: false });
});

test('SIGKILL between send and ack: the next worker sends it under the same id, with nothing to pair', async () => {
  const worker = start();
  await pair(setting, phone);
  await acked(orchestrator.enqueue(task('t0')));
  simulator.addFault({ kind: 'delay-ack', phone, delayMs: 5_000, count: 1 });
  const raw = orchestrator.enqueue(task('t1'));
  await until('arrived', () => message('t1') !== undefined);
  worker.child.kill('SIGKILL');
  expect(await worker.exited).toBe('SIGKILL');
  orchestrator.requeueProcessing();
  start();
  await acked(raw);
  await acked(orchestrator.enqueue(task('t2')));
  expect(message('t1')).toMatchObject({ arrivals: 2, accepted: true });
  expect(orchestrator.ofType('CONNECTED')).toHaveLength(2);
  expect(simulator.overview()).toMatchObject({ undecryptable: 0 });
});

test('ends at once when the process that started it is gone', async () => {
  const worker = start();
  await pair(setting, phone);
  worker.child.disconnect();
  expect(await worker.exited).toBe(EXIT.orphaned);
});

test('what libraries say on the console is dropped: libsignal prints the keys of sessions there', async () => {
  const says = `setTimeout(() => {
    for (const name of ['log', 'info', 'warn', 'error', 'debug', 'trace', 'dir', 'table'])
      console[name]('Closing session', { privKey: 'of-a-session' });
    process.stdout.write('spoken');
  }, 1000)`;
  const worker = start({ NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(says)}` });
  await until('spoken', () => worker.output().includes('spoken'));
  expect(worker.output()).not.toMatch(/privKey|of-a-session/);
});

test('refuses to start without a proxy, in one line', async () => {
  const worker = start({ PROXY_URL: '' });
  expect(await worker.exited).toBe(EXIT.badConfig);
  expect(worker.output().trim().split('\n')).toHaveLength(1);
  expect(worker.output()).toMatch(/PROXY_URL.*refusing to connect directly/);
});
