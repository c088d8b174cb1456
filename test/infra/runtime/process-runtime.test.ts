import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { ProcessRuntime } from '../../../src/infra/runtime/process-runtime.ts';
import { startOf } from '../../../src/infra/runtime/process-signals.ts';
import { createRuntime } from '../../../src/infra/runtime/registry.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { runtimeConformance } from '../../conformance/runtime.ts';
import { eventually } from '../../helpers/fleet-sandbox.ts';

const WORKER = join(import.meta.dirname, '..', '..', 'fixtures', 'plain-worker.mjs');
const PARENT = join(import.meta.dirname, '..', '..', 'fixtures', 'runtime-parent.ts');

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const newDir = (): Promise<string> => mkdtemp(join(tmpdir(), 'flotilla-runtime-'));

function newRuntime(
  dataDir: string,
  more: { tie?: 'kernel' | 'channel' | 'warden'; maxLogBytes?: number } = {},
) {
  return new ProcessRuntime({ dataDir, clock: systemClock, log: silentLogger, workerEntry: WORKER, ...more });
}

async function pidOf(dataDir: string, sessionId: string): Promise<number> {
  const text = await readFile(join(dataDir, 'run', 'workers', `${sessionId}.pid`), 'utf8').catch(() => '');
  return Number(text.split(' ')[0]);
}

for (const tie of ['kernel', 'channel', 'warden'] as const) {
  runtimeConformance(`process, tied by ${tie}`, async () => {
    const dataDir = await newDir();
    const runtime = newRuntime(dataDir, { tie });
    await runtime.open();
    return {
      runtime,
      crash: async (sessionId) => {
        const pid = await pidOf(dataDir, sessionId);
        expect(pid).toBeGreaterThan(1); // 0 would be a signal to ourselves
        process.kill(pid, 'SIGKILL');
      },
      close: async () => {
        await runtime.close({ graceMs: 500 });
        await rm(dataDir, { recursive: true, force: true });
      },
    };
  });
}

const spec = (sessionId: string, behaviour: string) => ({
  sessionId,
  epoch: 1,
  generation: 1,
  env: { PLAIN: behaviour },
  secrets: {},
  resources: null,
});

async function makeRuntime(more: Parameters<typeof newRuntime>[1] = {}) {
  const dataDir = await newDir();
  const runtime = newRuntime(dataDir, more);
  cleanups.push(async () => {
    await runtime.close({ graceMs: 200 });
    await rm(dataDir, { recursive: true, force: true });
  });
  return { dataDir, runtime };
}

test('logs are for the owner only, bounded, and survive the worker', async () => {
  const { dataDir, runtime } = await makeRuntime({ maxLogBytes: 50_000 });
  await runtime.ensure(spec('flood', 'flood'));
  await eventually(
    async () => (await runtime.logs('flood', { lines: 1 }))[0]?.startsWith('line 3999') === true,
  );
  for (const name of ['flood.log', 'flood.log.1']) {
    const { mode, size } = await stat(join(dataDir, 'logs', name));
    expect(mode & 0o777).toBe(0o600);
    expect(size).toBeLessThan(50_000 + 70_000);
  }
  expect(await runtime.logs('flood', { lines: 5 })).toHaveLength(5);
  expect(await runtime.logs('other', { lines: 5 })).toEqual([]);
  await runtime.removeLogs('flood');
  expect(await runtime.logs('flood', { lines: 5 })).toEqual([]);
});

test('statistics of a running worker', async () => {
  const { runtime } = await makeRuntime();
  await runtime.ensure(spec('stats', 'wait'));
  // At first it is a small shell that becomes the worker.
  await eventually(async () => ((await runtime.stats('stats'))?.memoryBytes ?? 0) > 10_000_000);
  expect(await runtime.stats('nobody')).toBeNull();
});

test('leftovers of an earlier run are killed, and nothing else is', async () => {
  const { dataDir, runtime } = await makeRuntime();
  await runtime.ensure(spec('left', 'orphan'));
  const pid = await pidOf(dataDir, 'left');
  const { writeFile } = await import('node:fs/promises');
  // The id of a process that lives, but is not the one that was recorded.
  await writeFile(join(dataDir, 'run', 'workers', 'reused.pid'), `${process.pid} 12345\n`);
  const next = newRuntime(dataDir);
  await next.open();
  expect(await startOf(pid)).toBeNull();
  await eventually(async () => (await runtime.list())[0]?.state === 'exited');
  expect(await pidOf(dataDir, 'reused')).toBe(0);
});

test.each(['kernel', 'channel'] as const)('workers die with a killed parent, tied by %s', async (tie) => {
  const dataDir = await newDir();
  cleanups.push(() => rm(dataDir, { recursive: true, force: true }));
  // A worker that does not look at its channel is ended by the kernel alone.
  const behaviour = tie === 'kernel' ? 'orphan' : 'wait';
  const parent: ChildProcess = spawn(process.execPath, [PARENT, dataDir, WORKER, tie, behaviour], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanups.push(async () => parent.kill('SIGKILL'));
  await new Promise((resolve) => parent.stdout?.once('data', resolve));
  const pids = [await pidOf(dataDir, 'a'), await pidOf(dataDir, 'b')];
  for (const pid of pids) expect(await startOf(pid)).not.toBeNull();
  parent.kill('SIGKILL');
  for (const pid of pids) await eventually(async () => (await startOf(pid)) === null, 5000);
});

test('after close nothing is started any more', async () => {
  const { runtime } = await makeRuntime();
  await runtime.ensure(spec('last', 'wait'));
  await runtime.close({ graceMs: 2000 });
  expect(await runtime.list()).toEqual([]);
  await expect(runtime.ensure(spec('late', 'wait'))).rejects.toThrow('No worker is started');
});

test('a runtime that is not in this build is named', async () => {
  expect(() =>
    createRuntime('supervisord', { dataDir: '/tmp', clock: systemClock, log: silentLogger }),
  ).toThrow('WORKER_RUNTIME=supervisord is not in this build; it has: process, docker, swarm.');
});
