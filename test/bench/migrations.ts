import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { systemClock } from '../../src/kernel/clock.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { type SwarmFleet, startSwarmFleet } from '../swarm/fleet.ts';
import { startSwarm, type TestSwarm } from '../swarm/swarm.ts';
import { buildWorkerImage } from '../swarm/worker-image.ts';
import { quantile } from './cycles.ts';
import { migrateOnDocker } from './docker-migrations.ts';
import type { Report } from './report.ts';

const MIGRATIONS = 10;
/** So that each node keeps one: with its last worker a node loses the network, and has to make it anew. */
const SESSIONS = 3;
const NODES = ['s2', 's3'] as const;

/** What an engine tells of, in milliseconds since 1970. */
interface Mark {
  at: number;
  what: string;
}

/** From the first mark to the one after it, in the order in which they come. */
const PHASES: readonly { figure: string; from: string; to: string }[] = [
  { figure: 'asked for, until the next container runs', from: 'asked', to: 'container start' },
  { figure: 'from there until the old connection is closed', from: 'container start', to: 'offline' },
  { figure: 'from there until the old container has ended', from: 'offline', to: 'container die' },
  { figure: 'from there until the next one is connected', from: 'container die', to: 'connected' },
];

/** Real workers moved between engines of this machine, and where the time of a migration goes on a Swarm. */
export async function bench(report: Report): Promise<void> {
  // libsignal prints the keys of the simulated recipients.
  console.info = () => undefined;
  console.warn = () => undefined;
  const trouble = engineTrouble();
  if (trouble !== null) throw new Error(`This needs Docker engines: ${trouble}.`);
  offlineTimes(report, 'Docker', await migrateOnDocker(MIGRATIONS));
  let image = '';
  const swarm = await startSwarm(async (manager) => {
    image = await buildWorkerImage(manager);
    return image;
  });
  try {
    const fleet = await startSwarmFleet(swarm, { image, sessions: SESSIONS });
    try {
      await measure(swarm, fleet, report);
    } finally {
      await fleet.stop();
    }
  } finally {
    await swarm.stop();
  }
}

async function measure(swarm: TestSwarm, fleet: SwarmFleet, report: Report): Promise<void> {
  const session = await oneOfTwo(fleet);
  const seen: Mark[] = [];
  const listeners = swarm.nodes.map(({ host }) => listen(host, seen));
  const offline: number[] = [];
  const phases = new Map<string, number[]>();
  try {
    // The first one starts what the engines have not started since they were.
    for (let n = 0; n <= MIGRATIONS; n += 1) {
      seen.length = 0;
      const [old] = await fleet.copies(session);
      const to = NODES.find((name) => name !== old?.node.name);
      let asked = Number.NaN;
      const moved = await fleet.migration(session, () => {
        asked = systemClock.nowMs();
        return fleet.call('POST', `/api/sessions/${session}/migrate`, { node: to });
      });
      const { offlineMs } = moved.data;
      if (offlineMs === null) throw new Error('the session had no connection to lose');
      await fleet.whole();
      if (n === 0) continue;
      const connected = Date.parse(moved.at);
      const marks = [
        ...seen,
        { at: asked, what: 'asked' },
        { at: connected, what: 'connected' },
        { at: connected - offlineMs, what: 'offline' },
      ];
      offline.push(offlineMs);
      for (const { figure, from, to: until } of PHASES) {
        const at = (what: string): number => marks.find((mark) => mark.what === what)?.at ?? Number.NaN;
        phases.set(figure, [...(phases.get(figure) ?? []), at(until) - at(from)]);
      }
    }
  } finally {
    for (const each of listeners) each.kill('SIGTERM');
  }
  offlineTimes(report, 'Swarm', offline);
  for (const { figure } of PHASES) show(report, `Swarm: ${figure}, p50`, phases.get(figure) ?? [], 0.5);
}

function offlineTimes(report: Report, runtime: string, offline: readonly number[]): void {
  show(report, `${runtime}: time without a connection, p50 of ${offline.length}`, offline, 0.5);
  show(report, `${runtime}: time without a connection, longest`, offline, 1);
}

function show(report: Report, figure: string, values: readonly number[], q: number): void {
  const sorted = values.toSorted((a, b) => a - b);
  report({ figure, value: quantile(sorted, q), unit: 'ms' });
}

/** A session that shares its node with another one. */
async function oneOfTwo(fleet: SwarmFleet): Promise<string> {
  const seen = new Set<string>();
  for (const id of fleet.sessions) {
    const [copy] = await fleet.copies(id);
    const node = copy?.node.name ?? '';
    if (seen.has(node)) return id;
    seen.add(node);
  }
  throw new Error('each session has a node of its own');
}

/** Collects the events of an engine: nothing but the one migration happens there. */
function listen(host: string, seen: Mark[]): ChildProcess {
  const args = ['-H', host, 'events', '--format', '{{json .}}'];
  const child = spawn('/usr/bin/docker', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { Type: type, Action: action, timeNano } = JSON.parse(line);
    seen.push({ at: timeNano / 1e6, what: `${type} ${action}` });
  });
  return child;
}
