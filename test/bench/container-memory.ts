import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import { newRuntime, spec } from '../docker/runtime-sandbox.ts';
import type { TestEngine } from '../helpers/docker-engine.ts';
import { pssBytes, rssBytes } from './process-figures.ts';
import type { Report } from './report.ts';

const EACH = 12;
/** Until what a start needed for itself has been given back. */
const SETTLE_MS = 2000;
const WORKER = join(import.meta.dirname, '..', 'fixtures', 'plain-worker.mjs');
const MIB = 2 ** 20;

/** The same program in containers and as bare processes. What is shared counts for each by its part (PSS). */
export async function containerMemory(engine: TestEngine, report: Report): Promise<void> {
  const bare = await ofProcesses();
  const contained = await ofContainers(engine);
  report({ figure: 'memory of a light worker as a bare process (PSS)', value: bare / MIB, unit: 'MiB' });
  report({
    figure: 'memory of a light worker in a container, with its init and shim (PSS)',
    value: (contained.worker + contained.around) / MIB,
    unit: 'MiB',
    baseline: 'the bare process',
    ratio: (contained.worker + contained.around) / bare,
  });
  report({
    figure: 'of it, what the container adds: init and shim',
    value: contained.around / MIB,
    unit: 'MiB',
  });
  report({
    figure: 'by how much the engine and its containerd grow with each container (RSS)',
    value: contained.engine / MIB,
    unit: 'MiB',
  });
}

/** Bytes a process. */
async function ofProcesses(): Promise<number> {
  const children: ChildProcess[] = [];
  try {
    for (let n = 0; n < EACH; n += 1) {
      const env = { PLAIN: 'wait', SECRET: 'tell nobody' };
      children.push(spawn(process.execPath, [WORKER], { stdio: 'ignore', env }));
    }
    await sleep(SETTLE_MS);
    return children.reduce((sum, { pid = 0 }) => sum + pssBytes(pid), 0) / EACH;
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}

/** Bytes a container. */
async function ofContainers(engine: TestEngine): Promise<{ worker: number; around: number; engine: number }> {
  const docker = new Docker({ socketPath: engine.host.slice('unix://'.length) });
  const runtime = newRuntime(engine);
  const pidOf = (file: string): number =>
    Number(readFileSync(join(engine.host.slice(7), '..', file), 'utf8'));
  const daemons = [pidOf('docker.pid'), pidOf('exec/containerd/containerd.pid')];
  const ofDaemons = (): number => daemons.reduce((sum, pid) => sum + rssBytes(pid), 0);
  const before = ofDaemons();
  const names = Array.from({ length: EACH }, (_, n) => `memory-${n}`);
  try {
    await Promise.all(names.map((name) => runtime.ensure(spec(name, 'wait'))));
    await sleep(SETTLE_MS);
    const { workers, around } = await aroundContainers(docker);
    const worker = workers.reduce((sum, pid) => sum + pssBytes(pid), 0) / EACH;
    return { worker, around, engine: (ofDaemons() - before) / EACH };
  } finally {
    await Promise.all(names.map((name) => runtime.remove(name)));
    await runtime.close({ graceMs: 0 });
  }
}

/** The workers' processes, and how many bytes the init and the shim of a container have on average (PSS). */
export async function aroundContainers(docker: Docker): Promise<{ workers: number[]; around: number }> {
  const workers: number[] = [];
  let around = 0;
  const all = await docker.listContainers();
  for (const { Id: id } of all) {
    const { Pid: init } = (await docker.getContainer(id).inspect()).State;
    around += pssBytes(init) + pssBytes(parentOf(init));
    workers.push(...childrenOf(init));
  }
  return { workers, around: around / all.length };
}

const parentOf = (pid: number): number =>
  Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

const childrenOf = (pid: number): number[] =>
  readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
