import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { systemClock } from '../../src/kernel/clock.ts';
import type { Logger } from '../../src/kernel/log.ts';
import type { Simulator } from '../../src/simulator/simulator.ts';
import { loadConfig, type WorkerConfig } from '../../src/worker/config.ts';
import { loadProvider } from '../../src/worker/providers/registry.ts';
import { silenceConsole } from '../../src/worker/silence-console.ts';
import { Worker, type WorkerDeps } from '../../src/worker/worker.ts';
import type { WorkerOrchestrator } from '../helpers/worker-orchestrator.ts';
import { patient } from '../patience.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

export interface Setting {
  simulator: Simulator;
  orchestrator: WorkerOrchestrator;
  /** Default: the simulator's first http proxy. */
  proxyUrl?: string;
  sessionId?: string;
  env?: Record<string, string>;
}

/** The environment that the runtime would give to the worker. */
export function workerEnv({
  simulator,
  orchestrator,
  proxyUrl,
  sessionId,
  env,
}: Setting): Record<string, string> {
  return {
    SESSION_ID: sessionId ?? 's-worker-test',
    ORCHESTRATOR_URL: orchestrator.url,
    WORKER_TOKEN: 'token-of-the-test',
    PROXY_URL: proxyUrl ?? httpProxy(simulator),
    WHATSAPP_WS_URL: simulator.wsUrl,
    WHATSAPP_ROOT_KEY: simulator.rootKeyBase64,
    WHATSAPP_CA_FILE: simulator.caFile,
    ...env,
  };
}

export const httpProxy = (simulator: Simulator): string => proxyOf(simulator, 'http');
export const socksProxy = (simulator: Simulator): string => proxyOf(simulator, 'socks5');

function proxyOf(simulator: Simulator, kind: string): string {
  const proxy = simulator.proxies.find((each) => each.kind === kind);
  if (!proxy) throw new Error(`no ${kind} proxy`);
  return proxy.url;
}

const loud: Logger = {
  debug: (fields, message) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`),
  info: (fields, message) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`),
  warn: (fields, message) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`),
  error: (fields, message) => process.stderr.write(`${message} ${JSON.stringify(fields)}\n`),
  child: () => loud,
};
const silent: Logger = {
  ...loud,
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silent,
};

/** A worker in this process. */
export async function startWorker(setting: Setting, timing: WorkerDeps['timing'] = {}): Promise<Worker> {
  silenceConsole();
  const config: WorkerConfig = loadConfig(workerEnv(setting));
  const createProvider = await loadProvider('baileys');
  if (!createProvider) throw new Error('no provider');
  const worker = new Worker({
    config,
    createProvider,
    clock: systemClock,
    log: process.env.WORKER_TEST_LOG ? loud : silent,
    timing: { backOffMinMs: 50, backOffMaxMs: 400, ackTimeoutMs: 1_500, probeTimeoutMs: 700, ...timing },
  });
  await worker.start();
  return worker;
}

export interface WorkerProcess {
  child: ChildProcess;
  /** Resolves with the exit code, or the signal's name. */
  exited: Promise<number | string>;
  output(): string;
  /** What a preloaded script told: addresses that were dialled. */
  told: string[];
}

/** A worker as the runtime starts it. */
export function spawnWorker(env: Record<string, string>, moreFlags: string[] = []): WorkerProcess {
  const flags = ['--max-semi-space-size=1', '--optimize-for-size', '--max-old-space-size=96'];
  const main = path.join(ROOT, 'src/worker/main.ts');
  const child = spawn(process.execPath, [...flags, ...moreFlags, main], {
    cwd: ROOT,
    // The compile cache holds the sources with their types stripped, too: half a second and 18 MB less per start.
    env: { PATH: process.env.PATH ?? '', NODE_COMPILE_CACHE: path.join(ROOT, '.cache/compile'), ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const told: string[] = [];
  child.on('message', (message) => told.push((message as { what: string }).what));
  const exited = new Promise<number | string>((resolve) => {
    child.on('exit', (code, signal) => resolve(code ?? signal ?? -1));
  });
  return { child, exited, output: () => output, told };
}

/** Polls until it is true. @throws with `what` after `timeoutMs` */
export async function until(what: string, condition: () => boolean, timeoutMs = 15_000): Promise<void> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > patient(timeoutMs)) throw new Error(`waited in vain: ${what}`);
    await systemClock.sleep(20);
  }
}

/** Waits for the QR code and lets the phone scan it. */
export async function pair({ simulator, orchestrator }: Setting, phone: string): Promise<void> {
  const before = orchestrator.ofType('CONNECTED').length;
  await until('a QR code', () => orchestrator.ofType('QR_UPDATE').length > 0);
  simulator.scan(phone, String(orchestrator.ofType('QR_UPDATE').at(-1)?.data.qrCode));
  await until('connected', () => orchestrator.ofType('CONNECTED').length > before);
}
