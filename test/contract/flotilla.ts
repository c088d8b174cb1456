import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { managedRedisUrl } from '../../src/infra/redis/managed-server.ts';
import type { AnyBody } from '../helpers/answers.ts';
import { patient } from '../patience.ts';

export const API_KEY = 'contract-api-key-0123456789';
export const WEBHOOK_SECRET = 'contract-webhook-secret-0123456789';

/** An answer of the API. `body` is the parsed JSON, or undefined if it is not JSON. */
export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  body: AnyBody;
}

export interface Flotilla {
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  readonly child: ChildProcess;
  /** With the management key. An object or array is sent as JSON, anything else as it is. */
  api(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** The same with the shared worker secret. */
  worker(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** The Redis that this orchestrator runs. */
  readonly redis: Redis;
  /** Everything that it wrote on standard output and standard error. */
  log(): string;
  /**
   * Stops the workers that it started where they stand (SIGSTOP), as soon as the session is `starting`: they own
   * their sessions, and say and claim nothing. The test plays the worker from then on.
   */
  freezeWorker(sessionId: string): Promise<void>;
  /** SIGTERM, waits for the end, keeps the data directory. @returns the exit code */
  halt(signal?: NodeJS.Signals): Promise<number | null>;
  /** Ends it, and removes its data directory. */
  stop(): Promise<void>;
}

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'orchestrator', 'main.ts');

/** `main.ts` as a child process with nothing but the given environment. */
export function launch(env: Record<string, string>, command: string[] = [process.execPath]): Launched {
  const [file = process.execPath, ...args] = command;
  const child = spawn(file, [...args, MAIN], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      // A start takes half of the time with it.
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      PORT: '0',
      AUTO_PROVISION: 'false',
      ...env,
    },
  });
  const output: string[] = [];
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk.toString()));
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const reap = (): void => void child.kill('SIGKILL');
  process.once('exit', reap);
  void exited.then(() => process.off('exit', reap));
  return { child, exited, output: () => output.join('') };
}

export interface Launched {
  child: ChildProcess;
  exited: Promise<number | null>;
  output(): string;
}

/** A data directory of its own, below the system's directory for temporary files. */
export const newDataDir = (): Promise<string> => mkdtemp(join(tmpdir(), 'flotilla-contract-'));

/** Starts an orchestrator, and waits until it is ready. */
export async function startFlotilla(
  env: Record<string, string> = {},
  dataDir?: string,
  command?: string[],
): Promise<Flotilla> {
  const dir = dataDir ?? (await newDataDir());
  const { child, exited, output } = launch({ API_KEY, WEBHOOK_SECRET, DATA_DIR: dir, ...env }, command);
  const url = await addressOf(child, dir, output);
  const redisUrl = await managedRedisUrl(dir);
  const redis = new Redis(redisUrl ?? '', { lazyConnect: true, maxRetriesPerRequest: 2 });
  redis.on('error', () => undefined);
  const call =
    (key: Record<string, string>) =>
    (method: string, path: string, body?: unknown, headers = {}) =>
      request(url + path, method, body, { ...key, ...headers });
  const frozen = new Set<number>();
  const halt = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> => {
    redis.disconnect();
    for (const pid of frozen) signalIfThere(pid, 'SIGKILL');
    child.kill(signal);
    const killer = setTimeout(() => child.kill('SIGKILL'), 15_000);
    const code = await exited;
    clearTimeout(killer);
    return code;
  };
  return {
    url,
    port: Number(new URL(url).port),
    dataDir: dir,
    child,
    api: call({ 'x-api-key': API_KEY }),
    worker: call({ 'x-webhook-secret': WEBHOOK_SECRET }),
    redis,
    log: output,
    freezeWorker: async (sessionId) => {
      const started = async (): Promise<number[]> => {
        const { body } = await request(`${url}/api/sessions/${sessionId}`, 'GET', undefined, {
          'x-api-key': API_KEY,
        });
        return body.session.state === 'starting'
          ? (await workersOf(child.pid ?? 0)).filter((pid) => !frozen.has(pid))
          : [];
      };
      const pids = await eventually('the worker', async () => {
        const found = await started();
        return found.length > 0 && found;
      });
      for (const pid of pids) {
        frozen.add(pid);
        process.kill(pid, 'SIGSTOP');
      }
    },
    halt,
    stop: async () => {
      await halt();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

const workersOf = (pid: number): Promise<number[]> => childrenOf(pid, 'worker/main');

/** Process ids of the children of a process whose command line contains `text`. */
export async function childrenOf(pid: number, text: string): Promise<number[]> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8'))
    .trim()
    .split(' ')
    .filter(Boolean);
  const lines = await Promise.all(children.map((child) => readFile(`/proc/${child}/cmdline`, 'utf8')));
  return children.flatMap((child, i) => (lines[i]?.includes(text) ? Number(child) : []));
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

async function addressOf(child: ChildProcess, dataDir: string, output: () => string): Promise<string> {
  const deadline = performance.now() + patient(25_000);
  while (performance.now() < deadline && child.exitCode === null) {
    try {
      const { pid, address } = JSON.parse(await readFile(join(dataDir, 'running.json'), 'utf8')) as {
        pid: number;
        address: string;
      };
      if (pid === child.pid && (await fetch(`${address}/ready`)).ok) return address;
    } catch {
      // Not there yet, or not yet listening.
    }
    await sleep(30);
  }
  child.kill('SIGKILL');
  throw new Error(`the orchestrator did not start:\n${output()}`);
}

/** One request with nothing added but the content type of JSON. */
export async function request(
  url: string,
  method: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const plain = body !== null && typeof body === 'object' && !isRaw(body);
  const response = await fetch(url, {
    method,
    headers: { ...(plain && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && {
      body: (plain ? JSON.stringify(body) : body) as NonNullable<RequestInit['body']>,
    }),
    signal: AbortSignal.timeout(patient(60_000)),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: parsed(text) as AnyBody };
}

const isRaw = (body: object): boolean =>
  body instanceof FormData ||
  body instanceof Uint8Array ||
  body instanceof Blob ||
  body instanceof URLSearchParams;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A request with full control over its header lines (`[name, value, name, value…]`) and its body. */
export function rawRequest(
  url: string,
  options: { method?: string; headers?: string[]; body?: string | Buffer },
): Promise<{ status: number; headers: http.IncomingHttpHeaders; text: string }> {
  const { hostname, port, pathname, search } = new URL(url);
  return new Promise((resolve, reject) => {
    const req = http.request(
      {
        hostname,
        port,
        path: pathname + search,
        method: options.method ?? 'GET',
        headers: ['Host', `${hostname}:${port}`, 'Connection', 'close', ...(options.headers ?? [])],
        agent: false,
      },
      (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('end', () =>
          resolve({
            status: res.statusCode ?? 0,
            headers: res.headers,
            text: Buffer.concat(chunks).toString(),
          }),
        );
        res.on('error', reject);
      },
    );
    req.on('error', reject);
    req.end(options.body);
  });
}

/** A multipart body with one file. */
export function fileForm(content: string | Uint8Array, field = 'file', name = 'lines.txt'): FormData {
  const form = new FormData();
  form.append(field, new Blob([content as string], { type: 'text/plain' }), name);
  return form;
}

/** An id that no other test uses. */
export const freshId = (prefix: string): string => `${prefix}-${randomBytes(6).toString('hex')}`;

/** Looks every 25 ms until `look` finds something. @throws Error naming what was waited for */
export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined | false>,
  timeoutMs = 8_000,
): Promise<T> {
  const deadline = performance.now() + patient(timeoutMs);
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms for ${what}`);
    await sleep(25);
  }
}

/** What is wrong with an error answer, by the contract: its status, its four fields, its request id. */
export function errorFaults(answer: Answer, status: number): string[] {
  const faults: string[] = [];
  const { body } = answer;
  if (answer.status !== status)
    faults.push(`status ${answer.status} instead of ${status}: ${answer.text.slice(0, 200)}`);
  if (!answer.headers.get('content-type')?.startsWith('application/json')) faults.push('not JSON');
  if (body?.status !== 'error') faults.push(`status field ${body?.status}`);
  if (!/^[a-z0-9]+(_[a-z0-9]+)*$/.test(body?.code ?? '')) faults.push(`code ${body?.code}`);
  if (typeof body?.reason !== 'string' || body.reason.length < 5) faults.push(`reason ${body?.reason}`);
  if (/\bat .*:\d+:\d+|node_modules|\/src\//.test(answer.text)) faults.push('shows its inside');
  if (!body?.requestId || body.requestId !== answer.headers.get('x-request-id')) {
    faults.push(`requestId ${body?.requestId} and header ${answer.headers.get('x-request-id')}`);
  }
  return faults;
}
