import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { FleetApi } from '../../demo/api.ts';
import { contacts, startFleet, untilEnded } from '../e2e/fleet.ts';
import { API_KEY, startSystem } from './orchestrators.ts';
import type { Report } from './report.ts';

const SESSIONS = 8;
const MESSAGES = 400;
const SESSIONS_LISTED = 500;

/** Real workers against the simulated network: how long a start takes, what a session weighs, how fast it sends. */
export async function bench(report: Report): Promise<void> {
  // libsignal prints the keys of the simulated recipients.
  console.info = () => undefined;
  console.warn = () => undefined;
  const startedAt = performance.now();
  const fleet = await startFleet({ profiles: SESSIONS, proxies: 2 });
  try {
    report({
      figure: `start, pair and connect ${SESSIONS} sessions, first login`,
      value: seconds(startedAt),
      unit: 's',
    });
    const workers = fleet.workerPids();
    report({ figure: 'memory of the orchestrator (RSS)', value: rssMb(fleet.orchestrator.pid), unit: 'MB' });
    report({
      figure: 'memory of a connected worker (RSS, median)',
      value: median(workers.map(rssMb)),
      unit: 'MB',
    });
    report({
      figure: 'memory of a connected worker (private, median)',
      value: median(workers.map(privateMb)),
      unit: 'MB',
    });

    const restarts: number[] = [];
    for (const { id } of (await fleet.api.sessions()).slice(0, 4)) restarts.push(await restart(fleet, id));
    report({ figure: 'restart of one session to `connected`, p50', value: median(restarts), unit: 's' });

    const sendingSince = performance.now();
    const job = await fleet.api.postTexts(contacts(MESSAGES, '57'), 'Hello {{name}}.');
    await untilEnded(fleet, job, 120_000);
    report({
      figure: `messages sent by ${SESSIONS} sessions, each to a new contact`,
      value: MESSAGES / seconds(sendingSince),
      unit: '/s',
    });
    report({
      figure: 'memory of a worker after sending (RSS, median)',
      value: median(fleet.workerPids().map(rssMb)),
      unit: 'MB',
    });
    report({
      figure: 'memory of the orchestrator after sending (RSS)',
      value: rssMb(fleet.orchestrator.pid),
      unit: 'MB',
    });
  } finally {
    await fleet.stop();
  }
  await manySessions(report);
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
    const before = rssMb(pid);
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
    for (let n = 0; n < 50; n++) {
      const listed = (await api.sessions()).length;
      if (listed !== SESSIONS_LISTED) throw new Error(`${listed} sessions are listed`);
    }
    report({ figure: 'memory of an orchestrator without a session (RSS)', value: before, unit: 'MB' });
    report({
      figure: `memory with ${SESSIONS_LISTED} sessions, listed 50 times (RSS)`,
      value: rssMb(pid),
      unit: 'MB',
    });
  } finally {
    await system.stop();
  }
}

async function restart(fleet: Awaited<ReturnType<typeof startFleet>>, sessionId: string): Promise<number> {
  const startedAt = performance.now();
  await fleet.api.restart(sessionId);
  for (let left = false; ; ) {
    const session = (await fleet.api.sessions()).find(({ id }) => id === sessionId);
    left ||= session?.state !== 'connected';
    if (left && session?.state === 'connected') return seconds(startedAt);
    if (seconds(startedAt) > 60) throw new Error(`session ${sessionId} did not come back`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const seconds = (since: number): number => (performance.now() - since) / 1000;

const rssMb = (pid: number): number =>
  Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024;

function privateMb(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const kb = [...text.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+)/gm)].reduce(
    (sum, [, each]) => sum + Number(each),
    0,
  );
  return kb / 1024;
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
