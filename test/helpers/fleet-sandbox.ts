import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FleetPolicy } from '../../src/domain/fleet-model.ts';
import { type Database, openDatabase } from '../../src/infra/database/database.ts';
import { createRedis, createSubscriber } from '../../src/infra/redis/client.ts';
import { ScriptRunner } from '../../src/infra/redis/scripts.ts';
import { ProcessRuntime } from '../../src/infra/runtime/process-runtime.ts';
import type { AnyRuntime } from '../../src/infra/runtime/registry.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import {
  composeEvents,
  composeFleet,
  type EventParts,
  type Fleet,
} from '../../src/orchestrator/compose-fleet.ts';
import { composeInventory, type InventoryParts } from '../../src/orchestrator/compose-inventory.ts';
import { composeOutbox } from '../../src/orchestrator/compose-outbox.ts';
import { issueWorkerToken } from '../../src/orchestrator/http/worker-token.ts';
import { patient } from '../patience.ts';
import type { FleetBody } from './answers.ts';
import { asManager, startTestServer, TEST_WEBHOOK_SECRET, type TestServer } from './http.ts';
import { startRedis, type TestRedis } from './redis.ts';
import { isStandIn, STAND_IN_PATH, standInRoutes } from './stand-in-sessions.ts';

export const TEST_KEY = '11'.repeat(32);

export interface SandboxOptions {
  policy?: Partial<FleetPolicy>;
  allowDirect?: boolean;
  provisioningIntervalMs?: number;
  monitorIntervalMs?: number;
  leaseMs?: number;
  /** Shares Redis and database with another sandbox, as a second orchestrator does. */
  beside?: FleetSandbox;
  runtime?: (dataDir: string) => AnyRuntime;
  /** The address to listen on, where workers are not on loopback. */
  host?: string;
  /** Off: the runner is not started. */
  run?: boolean;
  authKey?: string;
}

export interface Answer {
  status: number;
  /** Of an image or an event stream: its text, under a type that is not its own. */
  body: FleetBody;
}

/** An orchestrator's sessions, fleet and inventory on real Redis and SQLite, with stand-in workers. */
export interface FleetSandbox {
  readonly url: string;
  readonly redis: ReturnType<typeof createRedis>;
  readonly testRedis: TestRedis;
  readonly database: Database;
  readonly dataDir: string;
  readonly runtime: AnyRuntime;
  readonly fleet: Fleet;
  readonly inventory: InventoryParts;
  readonly parts: EventParts;
  readonly receipts: unknown[];
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** As the worker of a session would, with the token of an epoch; 0 for the shared secret. */
  worker(sessionId: string, epoch: number, method: string, path: string, body?: unknown): Promise<Answer>;
  event(sessionId: string, epoch: number, type: string, data: unknown): Promise<Answer>;
  upload(kind: 'profiles' | 'proxies', lines: string[]): Promise<void>;
  /** Until a session is in one of these states. */
  until(sessionId: string, ...states: string[]): Promise<Record<string, unknown>>;
  events(type?: string): Promise<{ type: string; session_id: string | null; data: string }[]>;
  stop(): Promise<void>;
}

export const WORKER_ENTRY = join(import.meta.dirname, '..', 'fixtures', 'stand-in-worker.mjs');

export async function startFleetSandbox(options: SandboxOptions = {}): Promise<FleetSandbox> {
  const { beside } = options;
  const testRedis = beside?.testRedis ?? (await startRedis());
  const dataDir = await mkdtemp(join(tmpdir(), 'flotilla-fleet-'));
  const database = beside?.database ?? (await openDatabase({ sqlitePath: join(dataDir, 'test.sqlite') }));
  const log = silentLogger;
  const clock = systemClock;
  const redis = createRedis({ url: testRedis.url, name: 'test', log });
  const subscriber = createSubscriber({ url: testRedis.url, name: 'test-sub', log });
  const scripts = new ScriptRunner(redis);
  const parts = composeEvents({ redis, subscriber, database, clock, log });
  const stopping = new AbortController();
  const inventory = composeInventory({
    redis,
    scripts,
    database,
    events: parts.events,
    rules: { maxSessionsPerProxy: 4, maxSessionsPerPhone: 4 },
    uploadLimitBytes: 1024 * 1024,
    alertWebhookUrl: null,
    onAlert: () => undefined,
    statusSections: async () => ({}),
    onRebind: (proxy) => fleet.rebindProxy(proxy),
    clock,
    log,
  });
  const outbox = composeOutbox({
    redis,
    subscriber,
    scripts,
    database,
    leases: { textMs: 60_000, mediaMs: 60_000, maxDeliveries: 5 } as never,
    isDeleted: (id) => fleet.sessions.isDeleted(id),
    clock,
    log,
  });
  const runtime =
    options.runtime?.(dataDir) ?? new ProcessRuntime({ dataDir, clock, log, workerEntry: WORKER_ENTRY });
  const receipts: unknown[] = [];
  const holder: { server?: TestServer } = {};
  const fleet: Fleet = composeFleet({
    ...parts,
    redis,
    scripts,
    database,
    runtime,
    allocation: inventory.allocation,
    outbox: outbox.outbox,
    receipts: { recordReceipt: async (receipt) => void receipts.push(receipt) },
    alerts: inventory.alerts,
    authEncryptionKey: options.authKey ?? TEST_KEY,
    worker: {
      orchestratorUrl: () => holder.server?.url ?? '',
      issueToken: (sessionId, epoch) => issueWorkerToken(TEST_WEBHOOK_SECRET, sessionId, epoch),
      logLevel: 'info',
      whatsappWsUrl: null,
      whatsappRootKey: null,
      whatsappCaFile: null,
    },
    policy: { maxSessions: 20, autoProvision: false, startsAtOnce: 4, ...options.policy },
    allowDirect: options.allowDirect ?? false,
    provisioningIntervalMs: options.provisioningIntervalMs ?? 100,
    monitorIntervalMs: options.monitorIntervalMs ?? 500,
    ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
    stopping: stopping.signal,
    clock,
    log,
  });
  const server = await startTestServer(
    [...fleet.routes, ...inventory.routes, ...outbox.routes, standInRoutes(() => fleet.sessions)],
    options.host,
  );
  holder.server = server;
  if (options.run !== false) await fleet.service.start();

  const call: FleetSandbox['call'] = async (method, path, body, headers = asManager) => {
    const standIn = path === '/api/sessions' && isStandIn((body as { provider?: unknown })?.provider);
    const answer = await fetch(server.url + (standIn ? STAND_IN_PATH : path), {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    const json = answer.headers.get('content-type')?.includes('json');
    return { status: answer.status, body: (json ? JSON.parse(text) : text) as FleetBody };
  };
  const worker: FleetSandbox['worker'] = (sessionId, epoch, method, path, body) =>
    call(method, `/api/worker/sessions/${sessionId}${path}`, body, {
      'content-type': 'application/json',
      'x-webhook-secret':
        epoch === 0 ? TEST_WEBHOOK_SECRET : issueWorkerToken(TEST_WEBHOOK_SECRET, sessionId, epoch),
    });

  return {
    url: server.url,
    redis,
    testRedis,
    database,
    dataDir,
    runtime,
    fleet,
    inventory,
    parts,
    receipts,
    call,
    worker,
    event: (sessionId, epoch, type, data) =>
      worker(sessionId, epoch, 'POST', '/events', { sessionId, type, data }),
    async upload(kind, lines) {
      const form = new FormData();
      form.append('file', new Blob([`${lines.join('\n')}\n`]), 'lines.txt');
      const answer = await fetch(`${server.url}/upload/${kind}`, {
        method: 'POST',
        headers: { 'x-api-key': asManager['x-api-key'] },
        body: form,
      });
      if (!answer.ok) throw new Error(await answer.text());
    },
    async until(sessionId, ...states) {
      const deadline = performance.now() + patient(30_000);
      for (;;) {
        const { body } = await call('GET', `/api/sessions/${sessionId}`);
        if (states.includes(body.session?.state)) return body.session;
        if (performance.now() > deadline) {
          throw new Error(`not ${states.join(' or ')} in time: ${JSON.stringify(body)}`);
        }
        await clock.sleep(20);
      }
    },
    async events(type) {
      const rows = await database.db.selectFrom('events').selectAll().orderBy('id').execute();
      return type === undefined ? rows : rows.filter((row) => row.type === type);
    },
    async stop() {
      stopping.abort();
      await fleet.service.stop();
      await runtime.close({ graceMs: 2000 });
      await server.stop();
      await inventory.service.stop();
      await outbox.service.stop();
      redis.disconnect();
      subscriber.disconnect();
      if (!beside) {
        await database.close();
        await testRedis.stop();
      }
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** Waits until the check holds. */
export async function eventually(check: () => Promise<boolean> | boolean, timeoutMs = 10_000): Promise<void> {
  const deadline = performance.now() + patient(timeoutMs);
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${check.toString()}`);
    await systemClock.sleep(20);
  }
}
