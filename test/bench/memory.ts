import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import { FleetApi } from '../../demo/api.ts';
import { demoContainers } from '../../demo/containers.ts';
import { buildOurImages, ORCHESTRATOR_IMAGE, WORKER_IMAGE } from '../docker/our-images.ts';
import { startFleet } from '../e2e/fleet.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { aroundContainers } from './container-memory.ts';
import { API_KEY, startSystem } from './orchestrators.ts';
import { privateBytes, pssBytes, rssBytes } from './process-figures.ts';
import type { Report } from './report.ts';

const SESSIONS = 8;
const SESSIONS_LISTED = 500;
const LISTS = 50;
/** Until what a start needed for itself has been given back. */
const SETTLE_MS = 5000;
const MIB = 2 ** 20;

/** What a real worker weighs as a process and in a container, and an orchestrator that lists many sessions. */
export async function bench(report: Report): Promise<void> {
  // libsignal prints the keys of the simulated recipients.
  console.info = () => undefined;
  console.warn = () => undefined;
  const trouble = engineTrouble();
  if (trouble !== null) throw new Error(`This needs a Docker engine: ${trouble}.`);
  const engine = await startEngine();
  const work = await mkdtemp(join(tmpdir(), 'flotilla-bench-'));
  try {
    await buildOurImages(engine);
    const bare = await asProcesses(await takeOut(engine, work));
    const contained = await inContainers(engine);
    report({ figure: 'connected worker as a bare process, its own', value: bare.own / MIB, unit: 'MiB' });
    report({ figure: 'the same with its part of what is shared (PSS)', value: bare.pss / MIB, unit: 'MiB' });
    report({
      figure: 'connected worker in a container, its own, with init and shim',
      value: (contained.own + contained.around) / MIB,
      unit: 'MiB',
      baseline: 'as a bare process',
      ratio: (contained.own + contained.around) / bare.own,
    });
    report({
      figure: 'the same with its part of what is shared (PSS)',
      value: (contained.pss + contained.around) / MIB,
      unit: 'MiB',
      baseline: 'as a bare process',
      ratio: (contained.pss + contained.around) / bare.pss,
    });
    report({ figure: 'of it init and shim (PSS)', value: contained.around / MIB, unit: 'MiB' });
  } finally {
    await engine.stop();
    await rm(work, { recursive: true, force: true });
  }
  await manySessions(report);
}

/** The project as it is in the orchestrator's image, so that both kinds of worker are the same program. */
async function takeOut({ docker }: TestEngine, work: string): Promise<string> {
  const id = await docker(['create', ORCHESTRATOR_IMAGE]);
  await docker(['cp', `${id}:/app`, work]);
  await docker(['rm', id]);
  return join(work, 'app', 'dist', 'orchestrator', 'main.js');
}

/** Bytes a worker, on average. */
async function asProcesses(main: string): Promise<{ own: number; pss: number }> {
  const fleet = await startFleet({ profiles: SESSIONS, main });
  try {
    await sleep(SETTLE_MS);
    const pids = fleet.workerPids();
    if (pids.length !== SESSIONS) throw new Error(`${pids.length} workers run`);
    return { own: mean(pids.map(privateBytes)), pss: mean(pids.map(pssBytes)) };
  } finally {
    await fleet.stop();
  }
}

/** Bytes a worker, on average; `around` is what its container has beside it. */
async function inContainers(engine: TestEngine): Promise<{ own: number; pss: number; around: number }> {
  const containers = demoContainers(engine.gateway, { DOCKER_HOSTS: `local=${engine.host}`, WORKER_IMAGE });
  const env = { WORKER_RUNTIME: 'docker', ...containers.env };
  const fleet = await startFleet({ profiles: SESSIONS, host: containers.host, env });
  try {
    await sleep(SETTLE_MS);
    const docker = new Docker({ socketPath: engine.host.slice('unix://'.length) });
    const { workers, around } = await aroundContainers(docker);
    if (workers.length !== SESSIONS) throw new Error(`${workers.length} workers run`);
    return { own: mean(workers.map(privateBytes)), pss: mean(workers.map(pssBytes)), around };
  } finally {
    await fleet.stop();
    await containers.removeAll();
  }
}

/** What the orchestrator weighs with many sessions, which wait for a place, and are listed. */
async function manySessions(report: Report): Promise<void> {
  const system = await startSystem(1, {
    MAX_SESSIONS: String(SESSIONS_LISTED),
    // An engine that does not answer: no worker is started.
    WORKER_RUNTIME: 'docker',
    ORCHESTRATOR_URL: 'http://orchestrator.invalid:3000',
    DOCKER_HOSTS: 'away=unix:///run/no-engine-listens-here.sock',
  });
  const { url, pid } = system.orchestrators[0] as { url: string; pid: number };
  const api = new FleetApi(url, API_KEY);
  try {
    await sleep(SETTLE_MS);
    const before = rssBytes(pid);
    const phones = Array.from({ length: SESSIONS_LISTED }, (_, n) => `97250${String(3_000_000 + n)}`);
    await api.upload(
      'proxies',
      Array.from({ length: SESSIONS_LISTED / 4 }, (_, n) => `http://10.98.0.${n + 1}:8080`),
    );
    await api.upload(
      'profiles',
      phones.map((phone) => JSON.stringify({ id: `profile-${phone}`, phone })),
    );
    for (const phone of phones) {
      const answer = await fetch(`${url}/api/sessions`, {
        method: 'POST',
        headers: { ...system.headers, 'content-type': 'application/json' },
        body: JSON.stringify({ phone }),
      });
      if (!answer.ok) throw new Error(await answer.text());
      await answer.body?.cancel();
    }
    for (let n = 0; n < LISTS; n++) {
      const listed = (await api.sessions()).length;
      if (listed !== SESSIONS_LISTED) throw new Error(`${listed} sessions are listed`);
    }
    report({ figure: 'orchestrator without a session (RSS)', value: before / MIB, unit: 'MiB' });
    report({
      figure: `orchestrator with ${SESSIONS_LISTED} sessions, listed ${LISTS} times (RSS)`,
      value: rssBytes(pid) / MIB,
      unit: 'MiB',
      baseline: 'without a session',
      ratio: rssBytes(pid) / before,
    });
  } finally {
    await system.stop();
  }
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, each) => sum + each, 0) / values.length;
