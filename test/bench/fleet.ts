import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { contacts, startFleet, untilEnded } from '../e2e/fleet.ts';
import type { Report } from './report.ts';

const SESSIONS = 8;
const MESSAGES = 400;

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
