import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_LEASE_POLICY, type LeasePolicy } from '../../../src/domain/task.ts';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { createRedis, createSubscriber } from '../../../src/infra/redis/client.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import {
  composeOutbox,
  type OutboxOptions,
  type OutboxParts,
} from '../../../src/orchestrator/compose-outbox.ts';
import { issueWorkerToken } from '../../../src/orchestrator/http/worker-token.ts';
import type { Poll } from '../../../src/services/outbox/claim-hub.ts';
import {
  asManager,
  asWorker,
  startTestServer,
  TEST_WEBHOOK_SECRET,
  type TestServer,
} from '../../helpers/http.ts';
import { startRedis, type TestRedis, type TestRedisOptions } from '../../helpers/redis.ts';

export interface Answer {
  status: number;
  body: Record<string, unknown> & { tasks?: Record<string, unknown>[] };
  headers: Headers;
}

export interface OutboxHarness extends OutboxParts {
  readonly redisServer: TestRedis;
  readonly redis: ReturnType<typeof createRedis>;
  readonly database: Database;
  readonly http: TestServer;
  readonly dir: string;
  /** Moves the time within the scripts; leases run out by it. */
  jump(ms: number): void;
  /** As the dispatcher side. */
  manage(method: string, path: string, body?: unknown): Promise<Answer>;
  /** As a worker; with an epoch its own token, without one the shared secret. */
  work(
    sessionId: string,
    action: string,
    options?: { body?: unknown; epoch?: number; request?: string; signal?: AbortSignal },
  ): Promise<Answer>;
  stop(): Promise<void>;
}

export interface HarnessOptions {
  redis?: TestRedisOptions;
  leases?: Partial<LeasePolicy>;
  options?: Partial<OutboxOptions>;
  /** Without the loops: nothing happens that the test does not ask for. */
  idle?: boolean;
}

export async function startOutbox(given: HarnessOptions = {}): Promise<OutboxHarness> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-outbox-'));
  const redisServer = await startRedis(given.redis);
  const connection = { url: redisServer.url, name: 'test', log: silentLogger };
  const redis = createRedis({ ...connection, commandTimeoutMs: 2000 });
  const subscriber = createSubscriber(connection);
  const database = await openDatabase({ sqlitePath: join(dir, 'test.sqlite') });
  let offset = 0;
  const parts = composeOutbox({
    redis,
    subscriber,
    scripts: new ScriptRunner(redis),
    database,
    leases: { ...DEFAULT_LEASE_POLICY, ...given.leases },
    isDeleted: async (id) => id.startsWith('deleted'),
    clock: systemClock,
    log: silentLogger,
    timeOffsetMs: () => offset,
    ...given.options,
  });
  if (!given.idle) await parts.service.start();
  const http = await startTestServer(parts.routes);

  const call = async (path: string, init: RequestInit): Promise<Answer> => {
    const answer = await fetch(`${http.url}${path}`, init);
    return { status: answer.status, body: (await answer.json()) as Answer['body'], headers: answer.headers };
  };
  return {
    ...parts,
    redisServer,
    redis,
    database,
    http,
    dir,
    jump: (ms) => {
      offset += ms;
    },
    manage: (method, path, body) =>
      call(path, {
        method,
        headers: asManager,
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
    work: (sessionId, action, { body, epoch, request, signal } = {}) =>
      call(`/api/worker/sessions/${sessionId}/outbox/${action}`, {
        method: 'POST',
        headers: {
          ...asWorker,
          ...(epoch === undefined
            ? {}
            : { 'x-webhook-secret': issueWorkerToken(TEST_WEBHOOK_SECRET, sessionId, epoch) }),
          ...(request === undefined ? {} : { 'x-claim-request': request }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal ? { signal } : {}),
      }),
    async stop() {
      await parts.service.stop();
      await http.stop();
      await database.close();
      redis.disconnect();
      subscriber.disconnect();
      await redisServer.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** A poll of a worker for one task. */
export const pollOf = (sessionId: string, given: Partial<Poll> = {}): Poll => ({
  sessionId,
  epoch: 0,
  requestId: null,
  max: 1,
  timeoutMs: 5000,
  ...given,
});
