import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FleetApi } from '../../demo/api.ts';
import { type OrchestratorProcess, startOrchestrator } from '../../demo/orchestrator.ts';
import { pairAll } from '../../demo/scanner.ts';
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts';
import { patient } from '../patience.ts';

export const API_KEY = 'end-to-end-api-key';

export interface E2eFleet {
  readonly simulator: Simulator;
  readonly dataDir: string;
  /** Of the orchestrator that runs now. */
  readonly orchestrator: OrchestratorProcess;
  readonly api: FleetApi;
  /** Ends the orchestrator with a signal and starts it again on the same data. */
  restart(signal: NodeJS.Signals): Promise<void>;
  /** Process ids of the workers that run now. */
  workerPids(): number[];
  stop(): Promise<void>;
}

/** The simulated network, and a real orchestrator process with paired and connected workers behind its proxies. */
export async function startFleet(options: {
  profiles: number;
  proxies?: number;
  env?: Record<string, string>;
  /** An address of this machine that workers reach; the loopback address unless told. */
  host?: string;
  /** Another orchestrator than this checkout's. */
  main?: string;
}): Promise<E2eFleet> {
  const dataDir = await mkdtemp(join(tmpdir(), 'flotilla-e2e-'));
  const compiled = process.env.NODE_COMPILE_CACHE;
  if (compiled) {
    // Where workers look for it: each fleet would compile them anew.
    await mkdir(compiled, { recursive: true });
    await symlink(compiled, join(dataDir, 'compile-cache'));
  }
  const proxies = options.proxies ?? 2;
  const simulator = await startSimulator({
    ...(options.host === undefined ? {} : { host: options.host }),
    proxies: { http: Math.ceil(proxies / 2), socks5: Math.floor(proxies / 2) },
    settings: { requireProxy: true, receipts: { deliveredAfterMs: 50, readAfterMs: 150 } },
  });
  const start = () =>
    startOrchestrator({
      dataDir,
      simulator,
      ...(options.main === undefined ? {} : { main: options.main }),
      env: {
        API_KEY,
        PROVISIONING_INTERVAL_MS: '200',
        MONITOR_INTERVAL_MS: '1000',
        TEXT_LEASE_MS: '5000',
        ...options.env,
      },
    });
  let orchestrator = await start();
  let api = new FleetApi(orchestrator.url, API_KEY);
  const stop = async (): Promise<void> => {
    await orchestrator.stop();
    await simulator.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
  try {
    await api.upload(
      'proxies',
      simulator.proxies.map(({ url }) => url),
    );
    await api.upload(
      'profiles',
      Array.from({ length: options.profiles }, (_, i) =>
        JSON.stringify({ id: `p${i}`, phone: phoneOfSender(i) }),
      ),
    );
    await pairAll({
      api,
      simulator,
      expected: options.profiles,
      onConnected: () => undefined,
      timeoutMs: patient(60_000),
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    simulator,
    dataDir,
    get orchestrator() {
      return orchestrator;
    },
    get api() {
      return api;
    },
    async restart(signal) {
      await orchestrator.kill(signal);
      orchestrator = await start();
      api = new FleetApi(orchestrator.url, API_KEY);
    },
    workerPids: () =>
      childrenOf(orchestrator.pid)
        .filter(({ command }) => command.includes('worker/main'))
        .map(({ pid }) => pid),
    stop,
  };
}

export const phoneOfSender = (index: number): string => `97255500${String(index + 1).padStart(4, '0')}`;

export const contacts = (count: number, range = '54'): { name: string; phone: string }[] =>
  Array.from({ length: count }, (_, i) => ({
    name: `Guest ${i}`,
    phone: `972${range}${String(i).padStart(12 - 3 - range.length, '0')}`,
  }));

function childrenOf(parent: number): { pid: number; command: string }[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' }).split('\n');
  return lines.flatMap((line) => {
    const match = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line);
    return match && Number(match[2]) === parent ? [{ pid: Number(match[1]), command: match[3] ?? '' }] : [];
  });
}

/** Until every message of the job has been sent or has failed. A receipt may be lost with the worker that got it. */
export async function untilEnded(fleet: E2eFleet, jobId: string, timeoutMs: number) {
  const deadline = performance.now() + patient(timeoutMs);
  for (;;) {
    const job = await fleet.api.job(jobId).catch(() => null);
    if (job && job.totals.queued === 0) return job;
    if (performance.now() > deadline) throw new Error(`job did not end in time: ${JSON.stringify(job)}`);
    await sleep(100);
  }
}

/** What the simulated recipients saw: recipient → texts, each as often as a person would see it. */
export function seenByPeople(simulator: Simulator): Map<string, string[]> {
  const seen = new Map<string, string[]>();
  for (const { to, text, accepted } of simulator.messages({ limit: 1_000_000 }).messages) {
    if (accepted) seen.set(to, [...(seen.get(to) ?? []), text ?? '']);
  }
  return seen;
}
