import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Simulator } from '../src/simulator/simulator.ts';

export interface OrchestratorProcess {
  readonly url: string;
  readonly pid: number;
  /** Standard output and standard error. */
  readonly logFile: string;
  /** Waits until the process is gone. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** SIGTERM, and SIGKILL after 15 s. */
  stop(): Promise<void>;
}

export interface OrchestratorOptions {
  dataDir: string;
  /** The simulated network that its workers use; without it they use WhatsApp's. */
  simulator?: Pick<Simulator, 'wsUrl' | 'rootKeyBase64' | 'caFile'>;
  /** Further variables. */
  env: Record<string, string>;
  /** For Node, beside those of `npm start`; the later one counts. */
  nodeOptions?: readonly string[];
  /** Its program; this checkout's unless told. */
  main?: string;
}

const MAIN = join(import.meta.dirname, '..', 'src', 'orchestrator', 'main.ts');
const START_TIMEOUT_MS = 30_000;
/** As `npm start` has it. */
const START_OPTIONS = ['--max-semi-space-size=8', '--no-parallel-scavenge'];

/** What `npm start` runs, with a data directory of its own, pointed at the simulated network. */
export async function startOrchestrator(options: OrchestratorOptions): Promise<OrchestratorProcess> {
  const logFile = join(options.dataDir, 'orchestrator.log');
  const log = createWriteStream(logFile, { mode: 0o600, flags: 'a' });
  const args = [...START_OPTIONS, ...(options.nodeOptions ?? []), options.main ?? MAIN];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      PORT: '0',
      DATA_DIR: options.dataDir,
      ...(options.simulator && {
        WHATSAPP_WS_URL: options.simulator.wsUrl,
        WHATSAPP_ROOT_KEY: options.simulator.rootKeyBase64,
        WHATSAPP_CA_FILE: options.simulator.caFile,
      }),
      ...options.env,
    },
  });
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  try {
    const url = await addressOf(child, options.dataDir);
    return {
      url,
      pid: child.pid ?? 0,
      logFile,
      kill: async (signal) => {
        child.kill(signal);
        await exited;
      },
      stop: () => stop(child, exited),
    };
  } catch (error) {
    await stop(child, exited);
    throw new Error(`The orchestrator did not start; see ${logFile}.`, { cause: error });
  }
}

async function addressOf(child: ChildProcess, dataDir: string): Promise<string> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < deadline && child.exitCode === null) {
    try {
      const { pid, address } = JSON.parse(await readFile(join(dataDir, 'running.json'), 'utf8')) as {
        pid: number;
        address: string;
      };
      if (pid === child.pid && address && (await fetch(`${address}/ready`)).ok) return address;
    } catch {
      // Not there yet, or not yet listening.
    }
    await sleep(50);
  }
  throw new Error(child.exitCode === null ? 'it took too long' : `it ended with code ${child.exitCode}`);
}

async function stop(child: ChildProcess, exited: Promise<void>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await exited;
  clearTimeout(killer);
}
