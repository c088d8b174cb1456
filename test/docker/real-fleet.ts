import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FleetApi } from '../../demo/api.ts';
import { startOrchestrator } from '../../demo/orchestrator.ts';
import { pairAll } from '../../demo/scanner.ts';
import { freePort } from '../../src/infra/redis/server-process.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { startEngine } from '../helpers/docker-engine.ts';
import { removeAll } from '../helpers/engine-contents.ts';
import { patient } from '../patience.ts';
import { buildOurImages, WORKER_IMAGE } from './our-images.ts';

const API_KEY = 'docker-test-api-key';

/** What is told of a session that has arrived on another host. */
export interface Arrival {
  toNode: string;
  offlineMs: number | null;
}

/** An orchestrator with real workers, paired and connected, on two engines `a` and `b` of this machine. */
export interface RealFleet {
  readonly simulator: Simulator;
  readonly api: FleetApi;
  readonly sessions: readonly string[];
  /** Moves a session. @returns what was told when it had arrived */
  migrate(sessionId: string, node: 'a' | 'b'): Promise<Arrival>;
  stop(): Promise<void>;
}

export async function startRealFleet(count: number): Promise<RealFleet> {
  const release: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (let each = release.pop(); each; each = release.pop()) await each();
  };
  try {
    const dataDir = await mkdtemp(join(tmpdir(), 'flotilla-real-fleet-'));
    release.push(() => rm(dataDir, { recursive: true, force: true }));
    const engine = async (number: number) => {
      const started = await startEngine({ number });
      release.push(() => started.stop());
      release.push(() => removeAll(started.docker));
      return started;
    };
    const a = await engine(1);
    const b = await engine(2);
    await buildOurImages(a, ['worker']);
    await b.takeImage(a, WORKER_IMAGE);
    const simulator = await startSimulator({
      host: a.gateway,
      proxies: { http: 1, socks5: 1 },
      settings: { requireProxy: true, receipts: { deliveredAfterMs: 50, readAfterMs: 150 } },
    });
    release.push(() => simulator.stop());
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const orchestrator = await startOrchestrator({
      dataDir,
      simulator,
      env: {
        API_KEY,
        HOST: '0.0.0.0',
        PORT: String(port),
        ORCHESTRATOR_URL: `http://${a.gateway}:${port}`,
        WORKER_RUNTIME: 'docker',
        DOCKER_HOSTS: `a=${a.host}?capacity=8,b=${b.host}?capacity=8`,
        WORKER_IMAGE,
        FLEET_ID: 'realfleet',
        PROVISIONING_INTERVAL_MS: '200',
        TEXT_LEASE_MS: '5000',
      },
    });
    release.push(() => orchestrator.stop());
    const api = new FleetApi(url, API_KEY);
    await api.upload(
      'proxies',
      simulator.proxies.map((proxy) => proxy.url),
    );
    const profiles = Array.from({ length: count }, (_, n) =>
      JSON.stringify({ id: `p${n}`, phone: `97255700${String(n).padStart(4, '0')}` }),
    );
    await api.upload('profiles', profiles);
    const timeoutMs = 120_000;
    await pairAll({ api, simulator, expected: count, onConnected: () => undefined, timeoutMs });
    const sessions = (await api.sessions()).map(({ id }) => id);
    return { simulator, api, sessions, migrate: (id, node) => migrate(url, id, node), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function migrate(url: string, id: string, node: string): Promise<Arrival> {
  const headers = { 'x-api-key': API_KEY, 'content-type': 'application/json' };
  // From now on: what was told before is of another one.
  const answer = await fetch(`${url}/api/events?type=session.migrated&sessionId=${id}`, {
    headers,
    signal: AbortSignal.timeout(patient(90_000)),
  });
  const body = JSON.stringify({ node });
  const asked = await fetch(`${url}/api/sessions/${id}/migrate`, { method: 'POST', headers, body });
  if (asked.status !== 200) throw new Error(await asked.text());
  let text = '';
  for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    const told = /^data: (.*)\n/m.exec(text)?.[1];
    if (told !== undefined) return (JSON.parse(told) as { data: Arrival }).data;
  }
  throw new Error('the stream of events has ended');
}
