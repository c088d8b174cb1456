import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ProcessRuntime } from '../../../src/infra/runtime/process-runtime.ts';
import { startOf } from '../../../src/infra/runtime/process-signals.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { eventually } from '../../helpers/fleet-sandbox.ts';

const FIXTURES = join(import.meta.dirname, '..', '..', 'fixtures');
const WORKER = join(FIXTURES, 'plain-worker.mjs');

let dataDir: string;
const cleanups: (() => unknown)[] = [];
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'flotilla-adoption-'));
  cleanups.push(() => rm(dataDir, { recursive: true, force: true, maxRetries: 5 }));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const pidOf = async (name: string): Promise<number> =>
  Number((await readFile(join(dataDir, 'run', 'workers', `${name}.pid`), 'utf8')).split(' ')[0]);
const wardens = (): Promise<string[]> => readdir(join(dataDir, 'run', 'warden'));
const isGone = async (pid: number): Promise<boolean> => (await startOf(pid)) === null;

/** An orchestrator with the workers `a` and `b`. */
async function startParent(
  behaviour: string,
  orphanMs: number,
): Promise<{ parent: ChildProcess; pids: number[] }> {
  const parent = spawn(
    process.execPath,
    [join(FIXTURES, 'runtime-parent.ts'), dataDir, WORKER, 'warden', behaviour, String(orphanMs)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  cleanups.push(() => parent.kill('SIGKILL'));
  await new Promise((resolve) => parent.stdout?.once('data', resolve));
  const pids = [await pidOf('a'), await pidOf('b')];
  for (const pid of pids) {
    expect(pid).toBeGreaterThan(1);
    cleanups.push(async () => (await isGone(pid)) || process.kill(pid, 'SIGKILL'));
  }
  return { parent, pids };
}

async function kill(parent: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => parent.once('exit', resolve));
  parent.kill('SIGKILL');
  await gone;
}

function nextRuntime(tie: 'warden' | 'kernel' = 'warden'): ProcessRuntime {
  const runtime = new ProcessRuntime({
    dataDir,
    tie,
    clock: systemClock,
    log: silentLogger,
    workerEntry: WORKER,
  });
  cleanups.push(() => runtime.close({ graceMs: 500 }));
  return runtime;
}

const spec = (sessionId: string, epoch: number) => ({
  sessionId,
  epoch,
  generation: 1,
  env: { PLAIN: 'wait' },
  secrets: {},
  resources: null,
});

test('workers of a killed orchestrator go on, and are those of the next one', async () => {
  const { parent, pids } = await startParent('wait', 60_000);
  await kill(parent);
  const runtime = nextRuntime();
  await runtime.open();
  expect(runtime.leftBehind).toEqual([]);
  const listed = await runtime.list();
  expect(listed.map(({ sessionId }) => sessionId).toSorted()).toEqual(['a', 'b']);
  for (const worker of listed) {
    expect(worker).toMatchObject({ epoch: 1, generation: 1, state: 'running', exit: null });
    expect(worker.ranMs).toBeGreaterThan(0);
    expect(worker.ranMs).toBeLessThan(60_000);
  }
  expect((await runtime.ensure(spec('a', 1))).state).toBe('running');
  expect(await pidOf('a')).toBe(pids[0]);
  expect((await runtime.stats('a'))?.memoryBytes).toBeGreaterThan(1_000_000);

  await runtime.stop('a', { graceMs: 20_000 });
  expect(await isGone(pids[0] ?? 0)).toBe(true);
  expect((await runtime.list()).find(({ sessionId }) => sessionId === 'a')?.state).toBe('exited');
  // A newer epoch ends the adopted worker first.
  await runtime.ensure(spec('b', 2));
  expect(await isGone(pids[1] ?? 0)).toBe(true);
  expect(await pidOf('b')).not.toBe(pids[1]);
});

test('the end of an adopted worker shows, with a hint, and without an exit code', async () => {
  const { parent, pids } = await startParent('wait', 60_000);
  await kill(parent);
  const runtime = nextRuntime();
  await runtime.open();
  const stop = new AbortController();
  const hints: string[] = [];
  const watching = (async () => {
    for await (const { sessionId } of runtime.watch(stop.signal)) hints.push(sessionId);
  })();
  process.kill(pids[0] ?? 0, 'SIGKILL');
  await eventually(() => hints.includes('a'));
  stop.abort();
  await watching;
  const worker = (await runtime.list()).find(({ sessionId }) => sessionId === 'a');
  expect(worker).toMatchObject({ state: 'exited', exit: { code: null, signal: null } });
  expect(worker?.exit?.cause).toContain('nobody was there');
  expect(worker?.exit?.lastLines.join()).toContain('plain wait');
});

test('orphans that nobody adopts are ended, also those that hang', async () => {
  const { parent, pids } = await startParent('orphan', 1000);
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  await kill(parent);
  for (const pid of pids) expect(await isGone(pid)).toBe(false);
  for (const pid of pids) await eventually(() => isGone(pid), 10_000);
  const runtime = nextRuntime();
  await runtime.open();
  expect(runtime.leftBehind.map(({ sessionId }) => sessionId).toSorted()).toEqual(['a', 'b']);
  expect(runtime.leftBehind.map(({ epoch }) => epoch)).toEqual([1, 1]);
  expect(await runtime.list()).toEqual([]);
});

test('adopted workers are not ended by the warden of the run before', async () => {
  const { parent, pids } = await startParent('wait', 1500);
  await kill(parent);
  const runtime = nextRuntime();
  await runtime.open();
  await systemClock.sleep(2500);
  for (const pid of pids) expect(await isGone(pid)).toBe(false);
  await runtime.close({ graceMs: 20_000 });
  for (const pid of pids) expect(await isGone(pid)).toBe(true);
  expect(await wardens()).toEqual([]);
});

test('a runtime whose workers do not outlive it kills what was left', async () => {
  const { parent, pids } = await startParent('wait', 60_000);
  await kill(parent);
  const runtime = nextRuntime('kernel');
  await runtime.open();
  for (const pid of pids) expect(await isGone(pid)).toBe(true);
  expect(runtime.leftBehind).toHaveLength(2);
});

test('who is killed while it stops leaves nobody behind, also not those that hang', async () => {
  const { parent, pids } = await startParent('deaf', 60_000);
  parent.kill('SIGTERM');
  await eventually(async () => (await readFile(join(dataDir, 'logs', 'a.log'), 'utf8')).includes('asked'));
  await kill(parent);
  for (const pid of pids) await eventually(() => isGone(pid), 5000);
});

test('a stranger with the process id of a worker is never ended', async () => {
  const { parent, pids } = await startParent('wait', 700);
  const stranger = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
  cleanups.push(() => stranger.kill('SIGKILL'));
  const { pid = 0 } = stranger;
  const record = async (name: string, started: string, boot: string) =>
    await writeFile(join(dataDir, 'run', 'workers', `${name}.pid`), `${pid} ${started}\n1 1\n${boot}\n`);
  await record('reused', '12345', '');
  await kill(parent);
  for (const each of pids) await eventually(() => isGone(each), 10_000);
  expect(await isGone(pid)).toBe(false); // by the warden
  // The same start, before the machine was booted.
  await record('before-boot', (await startOf(pid)) ?? '', '11111111-2222-3333-4444-555555555555');
  const runtime = nextRuntime();
  await runtime.open();
  expect(await runtime.list()).toEqual([]);
  expect(runtime.leftBehind.map(({ sessionId }) => sessionId)).toContain('before-boot');
  expect(await isGone(pid)).toBe(false);
});
