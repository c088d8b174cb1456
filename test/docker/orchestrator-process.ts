import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRedis } from '../../src/infra/redis/client.ts';
import { freePort } from '../../src/infra/redis/server-process.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import type { Answer } from '../helpers/fleet-sandbox.ts';
import { startRedis, type TestRedis } from '../helpers/redis.ts';
import { patient } from '../patience.ts';
import { LIGHT_IMAGE } from './plain-image.ts';

/** `npm start` with light workers in containers: its own process, to be killed and started again over the same data. */
export interface OrchestratorProcess {
  readonly redis: ReturnType<typeof createRedis>;
  readonly dataDir: string;
  /** Until it answers. @param env for this start and the next ones */
  start(env?: Record<string, string>): Promise<void>;
  /** Until its runner leads the fleet since the last start. */
  leads(): Promise<void>;
  kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** While it does not answer, it is asked again, for a minute. */
  call(method: string, path: string, body?: unknown): Promise<Answer>;
  upload(kind: 'profiles' | 'proxies', lines: readonly string[]): Promise<void>;
  /** Makes a session whose worker connects; its profile must have been uploaded. */
  create(phone: string, wishes?: { resources: object }): Promise<string>;
  /** Until a session is in one of these states. */
  until(sessionId: string, states: readonly string[], timeoutMs?: number): Promise<Record<string, unknown>>;
  /** The last lines of its log. */
  lastLines(): Promise<string>;
  /** Ends it and its Redis, and removes their files. */
  stop(): Promise<void>;
}

export interface OrchestratorProcessOptions {
  /** DOCKER_HOSTS */
  hosts: string;
  fleetId: string;
  /** The address of this machine as containers reach it. */
  gateway: string;
  /** Further variables. */
  env?: Record<string, string>;
}

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'orchestrator', 'main.ts');
const COMPILE_CACHE = join(import.meta.dirname, '..', '..', '.cache', 'compile');
const PATIENCE_MS = 60_000;
/** Oftener, the looks of many sessions would cost more than what they look at. */
const LOOK_EVERY_MS = 200;

/** The profile of a session whose light worker connects. */
export const profileOf = (phone: string): string =>
  JSON.stringify({ id: `profile-${phone}`, phone, browser: ['fine', phone, '1.0'] });

export async function prepareOrchestrator(options: OrchestratorProcessOptions): Promise<OrchestratorProcess> {
  const testRedis: TestRedis = await startRedis();
  const dataDir = await mkdtemp(join(tmpdir(), 'flotilla-orchestrator-'));
  const logFile = join(dataDir, 'orchestrator.log');
  const log = createWriteStream(logFile, { flags: 'a' });
  const redis = createRedis({ url: testRedis.url, name: 'test', log: silentLogger });
  const apiKey = randomBytes(12).toString('hex');
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const env: Record<string, string> = { DOCKER_HOSTS: options.hosts, ...options.env };
  let child: ChildProcess | undefined;
  let stopped = false;
  let leading = Promise.withResolvers<void>();

  const within = async <T>(what: string, timeoutMs: number, look: () => Promise<T | null>): Promise<T> => {
    const deadline = performance.now() + patient(timeoutMs);
    for (let trouble = ''; ; await sleep(LOOK_EVERY_MS)) {
      const found = await look().catch((error: unknown) => {
        trouble = String(error);
        return null;
      });
      if (found !== null) return found;
      if (performance.now() > deadline) throw new Error(`${what} not within ${timeoutMs} ms: ${trouble}`);
    }
  };
  const ask = async (method: string, path: string, body?: FormData | string): Promise<Answer> => {
    const headers = {
      'x-api-key': apiKey,
      ...(typeof body === 'string' ? { 'content-type': 'application/json' } : {}),
    };
    const answer = await fetch(url + path, { method, headers, ...(body === undefined ? {} : { body }) });
    const text = await answer.text();
    return { status: answer.status, body: text === '' ? null : JSON.parse(text) };
  };
  const call: OrchestratorProcess['call'] = (method, path, body) =>
    within(`${method} ${path}`, PATIENCE_MS, async () => {
      const answer = await ask(method, path, body === undefined ? undefined : JSON.stringify(body));
      return answer.status === 503 ? null : answer;
    });
  const kill: OrchestratorProcess['kill'] = async (signal) => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child?.once('exit', () => resolve()));
    child.kill(signal);
    await ended;
  };
  const lastLines = async (): Promise<string> =>
    (await readFile(logFile, 'utf8').catch(() => '')).trim().split('\n').slice(-30).join('\n');

  return {
    redis,
    dataDir,
    kill,
    call,
    lastLines,
    leads: () => leading.promise,
    async start(changed = {}) {
      // A killer of a test that has failed may still be at work.
      if (stopped) throw new Error('it was stopped for good');
      Object.assign(env, changed);
      leading = Promise.withResolvers<void>();
      const begun = leading;
      const started = spawn(process.execPath, [MAIN], {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: {
          PATH: process.env.PATH,
          HOME: process.env.HOME,
          // A start takes half of the time with it.
          NODE_COMPILE_CACHE: COMPILE_CACHE,
          HOST: '0.0.0.0',
          PORT: String(port),
          DATA_DIR: dataDir,
          REDIS_URL: testRedis.url,
          API_KEY: apiKey,
          AUTO_PROVISION: 'false',
          PROVISIONING_INTERVAL_MS: '500',
          WORKER_RUNTIME: 'docker',
          WORKER_IMAGE: LIGHT_IMAGE,
          FLEET_ID: options.fleetId,
          ORCHESTRATOR_URL: `http://${options.gateway}:${port}`,
          // Light workers ask nobody; with it no version is fetched either.
          WHATSAPP_WS_URL: 'wss://whatsapp.invalid',
          ...env,
        },
      });
      child = started;
      started.stdout.on('data', (chunk: Buffer) => {
        if (chunk.includes('this runner leads the fleet')) begun.resolve();
      });
      started.stdout.pipe(log, { end: false });
      started.stderr.pipe(log, { end: false });
      try {
        await within('an orchestrator', PATIENCE_MS, async () => {
          if (started.exitCode !== null) throw new Error(`it ended with code ${started.exitCode}`);
          return (await ask('GET', '/ready')).status === 200 ? true : null;
        });
      } catch (error) {
        throw new Error(await lastLines(), { cause: error });
      }
    },
    async upload(kind, lines) {
      const form = new FormData();
      form.append('file', new Blob([`${lines.join('\n')}\n`]), 'lines.txt');
      const answer = await ask('POST', `/upload/${kind}`, form);
      if (answer.status !== 200) throw new Error(JSON.stringify(answer.body));
    },
    async create(phone, wishes) {
      // The answer to a first try may have been lost, with an orchestrator that was killed.
      const present = async (): Promise<string | null> => {
        const { body } = await ask('GET', '/api/sessions?limit=500');
        return body.sessions.find((each: { phone: string }) => each.phone === phone)?.id ?? null;
      };
      let lost = false;
      return await within(`a session for ${phone}`, PATIENCE_MS, async () => {
        if (lost) {
          const id = await present();
          if (id !== null) return id;
        }
        lost = true;
        const { status, body } = await ask('POST', '/api/sessions', JSON.stringify({ phone, ...wishes }));
        if (status === 201) return body.session.id as string;
        throw new Error(`${status} ${JSON.stringify(body)}`);
      });
    },
    until: (sessionId, states, timeoutMs = 60_000) => {
      let last = '';
      return within(`${sessionId} ${states.join(' or ')}`, timeoutMs, async () => {
        const { body } = await ask('GET', `/api/sessions/${sessionId}`);
        last = JSON.stringify(body);
        if (states.includes(body.session?.state)) return body.session as Record<string, unknown>;
        throw new Error(last);
      });
    },
    async stop() {
      stopped = true;
      await kill('SIGTERM');
      log.end();
      redis.disconnect();
      await testRedis.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
