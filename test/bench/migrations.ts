import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { type SwarmFleet, startSwarmFleet } from '../swarm/fleet.ts';
import { startSwarm, type TestSwarm } from '../swarm/swarm.ts';
import { buildWorkerImage } from '../swarm/worker-image.ts';
import { quantile } from './cycles.ts';
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
  { figure: 'connection closed, until the old container has ended', from: 'offline', to: 'container die' },
  { figure: 'from there until its service is removed', from: 'container die', to: 'service remove' },
  { figure: 'from there until the next service is made', from: 'service remove', to: 'service create' },
  { figure: 'from there until its container is made', from: 'service create', to: 'container create' },
  { figure: 'from there until it runs', from: 'container create', to: 'container start' },
  { figure: 'from there until it is connected', from: 'container start', to: 'connected' },
];

/** Real workers moved from node to node of a Swarm on this machine, and where the time without a connection goes. */
export async function bench(report: Report): Promise<void> {
  // libsignal prints the keys of the simulated recipients.
  console.info = () => undefined;
  console.warn = () => undefined;
  const trouble = engineTrouble();
  if (trouble !== null) throw new Error(`This needs Docker engines: ${trouble}.`);
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
      const moved = await fleet.migration(session, () =>
        fleet.call('POST', `/api/sessions/${session}/migrate`, { node: to }),
      );
      const { offlineMs } = moved.data;
      if (offlineMs === null) throw new Error('the session had no connection to lose');
      await fleet.whole();
      if (n === 0) continue;
      const connected = Date.parse(moved.at);
      const marks = [
        ...seen,
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
  const show = (figure: string, values: readonly number[], q: number): void =>
    report({
      figure,
      value: quantile(
        values.toSorted((a, b) => a - b),
        q,
      ),
      unit: 'ms',
    });
  show(`time without a connection, p50 of ${MIGRATIONS}`, offline, 0.5);
  show('time without a connection, longest', offline, 1);
  for (const { figure } of PHASES) show(`${figure}, p50`, phases.get(figure) ?? [], 0.5);
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
