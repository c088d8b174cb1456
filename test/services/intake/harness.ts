import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { RedisOutboxStore } from '../../../src/infra/redis/outbox-store.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock, toIso } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import {
  composeMessages,
  type Messages,
  type MessagesOptions,
} from '../../../src/orchestrator/compose-messages.ts';
import { Outbox } from '../../../src/services/outbox/outbox.ts';
import { startTestServer, type TestServer } from '../../helpers/http.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

export interface Harness {
  readonly redisServer: TestRedis;
  readonly redis: ReturnType<typeof createRedis>;
  readonly database: Database;
  readonly dir: string;
  readonly messages: Messages;
  readonly http: TestServer;
  addSession(id: string, facts?: { tenant?: string; state?: string; desired?: string }): Promise<void>;
  setSession(id: string, facts: { state?: string; desired?: string }): Promise<void>;
  /** What an outbox holds, in the order in which it will be claimed. */
  outbox(sessionId: string): Promise<{ taskId: string; to: string; text?: string }[]>;
  stop(): Promise<void>;
}

export async function startHarness(options: Partial<MessagesOptions> = {}): Promise<Harness> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-messages-'));
  const redisServer = await startRedis();
  const redis = createRedis({
    url: redisServer.url,
    name: 'test',
    log: silentLogger,
    commandTimeoutMs: 2000,
  });
  const database = await openDatabase({ sqlitePath: join(dir, 'test.sqlite') });
  const messages = composeMessages({
    redisUrl: redisServer.url,
    redis,
    database,
    outbox: createTestOutbox(redis),
    mediaDir: join(dir, 'media'),
    dispatcher: 'inline',
    clock: systemClock,
    log: silentLogger,
    recoveryIntervalMs: 100,
    ...options,
  });
  await messages.service.start();
  const http = await startTestServer(messages.routes);
  return {
    redisServer,
    redis,
    database,
    dir,
    messages,
    http,
    addSession: (id, facts = {}) => addSession(database, id, facts),
    async setSession(id, facts) {
      await database.db.updateTable('sessions').set(facts).where('id', '=', id).execute();
    },
    async outbox(sessionId) {
      const raws = await redis.lrange(keys.outbox(sessionId), 0, -1);
      return raws.toReversed().map((raw) => JSON.parse(raw) as { taskId: string; to: string; text?: string });
    },
    async stop() {
      await http.stop();
      await messages.service.stop();
      await database.close();
      redis.disconnect();
      await redisServer.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

export async function addSession(
  database: Database,
  id: string,
  facts: { tenant?: string; state?: string; desired?: string } = {},
): Promise<void> {
  const now = toIso(systemClock.nowMs());
  await database.db
    .insertInto('sessions')
    .values({
      id,
      provider: 'baileys',
      tenant: facts.tenant ?? null,
      desired: facts.desired ?? 'running',
      state: facts.state ?? 'connected',
      generation: 1,
      direct: 0,
      epoch: 0,
      crashes: 0,
      logout: 0,
      created_at: now,
      updated_at: now,
    })
    .execute();
}

/** The real outbox; its ledger and its wake-ups have tests of their own. */
export function createTestOutbox(redis: ReturnType<typeof createRedis>): Outbox {
  return new Outbox({
    store: new RedisOutboxStore({
      redis,
      scripts: new ScriptRunner(redis),
      leases: DEFAULT_LEASE_POLICY,
    }),
    ledger: { accept: async () => [], acceptedAt: async () => null },
    sessions: { isDeleted: async () => false },
    wakeUps: { publish: () => undefined, subscribe: () => () => undefined },
    clock: systemClock,
  });
}

export async function until<T>(
  look: () => Promise<T>,
  isThere: (value: T) => boolean,
  withinMs = 10_000,
): Promise<T> {
  const deadline = systemClock.monotonicMs() + withinMs;
  for (;;) {
    const value = await look();
    if (isThere(value)) return value;
    if (systemClock.monotonicMs() > deadline) throw new Error(`still ${JSON.stringify(value)}`);
    await systemClock.sleep(20);
  }
}
