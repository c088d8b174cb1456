import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FleetApi } from '../../demo/api.ts';
import { startOrchestrator } from '../../demo/orchestrator.ts';
import { pairAll } from '../../demo/scanner.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { patient } from '../patience.ts';
import { GATEWAY, OUTSIDE } from './network.ts';
import { CACHE_DIR, type SwarmNode } from './node.ts';
import type { TestSwarm } from './swarm.ts';

const API_KEY = 'swarm-test-api-key';
const FLEET = 'swarmfleet';

/** A container of a session, wherever it is. */
export interface Copy {
  id: string;
  node: SwarmNode;
  epoch: number;
}

export interface Migrated {
  sessionId: string;
  /** When it arrived, ISO 8601. */
  at: string;
  data: { fromNode: string; toNode: string; offlineMs: number | null };
}

export interface SwarmFleet {
  readonly simulator: Simulator;
  readonly api: FleetApi;
  readonly url: string;
  readonly sessions: readonly string[];
  /** A request to the API. */
  call(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }>;
  /** Running containers of a session on every node whose engine answers. */
  copies(sessionId: string): Promise<Copy[]>;
  /** Until there is a newer copy that is connected. @returns it, and ms until it ran and until it was connected */
  replaced(old: Copy, sessionId: string): Promise<{ copy: Copy; upMs: number; connectedMs: number }>;
  /** What is told of a session's arrival on another node after this has been done. */
  migration(sessionId: string, begin: () => Promise<unknown>): Promise<Migrated>;
  /** Until each session has one container, and is connected. */
  whole(): Promise<void>;
  /** What the swarm itself counts of this fleet: services, and tasks that are to run. */
  counts(): Promise<{ services: number; tasks: number }>;
  stop(): Promise<void>;
}

/** A real orchestrator with paired and connected workers on a swarm; WhatsApp and its proxies lie outside of it. */
export async function startSwarmFleet(
  swarm: TestSwarm,
  options: { image: string; sessions: number; env?: Record<string, string> },
): Promise<SwarmFleet> {
  const { manager } = swarm;
  const dataDir = await mkdtemp(join(tmpdir(), 'flotilla-swarm-fleet-'));
  const simulator = await startSimulator({
    host: OUTSIDE,
    proxies: { http: 1, socks5: 1 },
    settings: { requireProxy: true, receipts: { deliveredAfterMs: 50, readAfterMs: 150 } },
  });
  const port = await freePort();
  const url = `http://${GATEWAY}:${port}`;
  const orchestrator = await startOrchestrator({
    dataDir,
    simulator,
    env: {
      API_KEY,
      HOST: GATEWAY,
      PORT: String(port),
      ORCHESTRATOR_URL: url,
      WORKER_RUNTIME: 'swarm',
      DOCKER_HOSTS: `${manager.name}=${manager.host}`,
      WORKER_IMAGE: options.image,
      FLEET_ID: FLEET,
      PROVISIONING_INTERVAL_MS: '200',
      TEXT_LEASE_MS: '5000',
      ...options.env,
    },
  }).catch(async (error: unknown) => {
    await simulator.stop();
    throw error;
  });
  const api = new FleetApi(url, API_KEY);
  const ours = ['-q', '--filter', `label=flotilla.fleet=${FLEET}`];
  const lines = (text: string): string[] => text.split('\n').filter(Boolean);
  const stop = async (): Promise<void> => {
    await orchestrator.stop();
    await simulator.stop();
    const services = lines(await manager.docker(['service', 'ls', ...ours]).catch(() => ''));
    if (services.length > 0) await manager.docker(['service', 'rm', ...services]);
    // For whoever wants to know why.
    await copyFile(orchestrator.logFile, join(CACHE_DIR, 'orchestrator.log')).catch(() => undefined);
    await rm(dataDir, { recursive: true, force: true });
  };
  const copies: SwarmFleet['copies'] = async (sessionId) => {
    const filters = [`label=flotilla.fleet=${FLEET}`, `label=flotilla.session=${sessionId}`];
    const list = ['ps', '--no-trunc', '--format', '{{.ID}} {{.Label "flotilla.epoch"}}'];
    const found = await Promise.all(
      swarm.nodes.map(async (node) =>
        lines(
          await node
            .docker([...list, ...filters.flatMap((each) => ['--filter', each])], { timeoutMs: 5000 })
            .catch(() => ''),
        ).map((line) => {
          const [id = '', epoch] = line.split(' ');
          return { id, node, epoch: Number(epoch) };
        }),
      ),
    );
    return found.flat();
  };
  let sessions: string[] = [];
  try {
    await api.upload(
      'proxies',
      simulator.proxies.map((proxy) => proxy.url),
    );
    const profiles = Array.from({ length: options.sessions }, (_, i) =>
      JSON.stringify({ id: `p${i}`, phone: `97255600${String(i).padStart(4, '0')}` }),
    );
    await api.upload('profiles', profiles);
    const expected = options.sessions;
    await pairAll({ api, simulator, expected, onConnected: () => undefined, timeoutMs: patient(120_000) });
    sessions = (await api.sessions()).map(({ id }) => id);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    simulator,
    api,
    url,
    sessions,
    copies,
    async call(method, path, body) {
      const answer = await fetch(url + path, {
        method,
        headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { status: answer.status, body: await answer.json() };
    },
    async replaced(old, sessionId) {
      const beganAt = performance.now();
      const since = (): number => Math.round(performance.now() - beganAt);
      let copy: Copy | undefined;
      while (copy === undefined) {
        copy = (await copies(sessionId)).find(({ epoch }) => epoch > old.epoch);
        if (since() > 60_000) throw new Error(`${sessionId} did not come up elsewhere`);
        if (copy === undefined) await sleep(50);
      }
      const upMs = since();
      for (;;) {
        const session = (await api.sessions()).find(({ id }) => id === sessionId);
        if (session?.state === 'connected') return { copy, upMs, connectedMs: since() };
        if (since() > 90_000) throw new Error(`${sessionId} did not connect: ${JSON.stringify(session)}`);
        await sleep(50);
      }
    },
    async migration(sessionId, begin) {
      // From now on: what was told before is of another one.
      const answer = await fetch(`${url}/api/events?type=session.migrated&sessionId=${sessionId}`, {
        headers: { 'x-api-key': API_KEY },
        signal: AbortSignal.timeout(patient(60_000)),
      });
      await begin();
      let text = '';
      for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
        text += chunk;
        const told = /^data: (.*)\n/m.exec(text)?.[1];
        if (told !== undefined) return JSON.parse(told) as Migrated;
      }
      throw new Error('the stream of events has ended');
    },
    async whole() {
      await eventually(async () => {
        const all = await api.sessions();
        const found = await Promise.all(sessions.map((id) => copies(id)));
        return (
          all.every(({ state }) => state === 'connected') &&
          simulator.sessions().every(({ connected }) => connected) &&
          found.every(({ length }) => length === 1)
        );
      }, 60_000);
    },
    async counts() {
      const services = lines(await manager.docker(['service', 'ls', ...ours]));
      const running = ['--filter', 'desired-state=running', '-q'];
      const tasks = await Promise.all(
        services.map(async (id) => lines(await manager.docker(['service', 'ps', id, ...running]))),
      );
      return { services: services.length, tasks: tasks.flat().length };
    },
    stop,
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, GATEWAY, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
