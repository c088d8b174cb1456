import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { createSessionDirectory } from '../../../src/infra/database/session-directory.ts';
import { createRedis, createSubscriber } from '../../../src/infra/redis/client.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock, toIso } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import {
  composeMessages,
  type Messages,
  type MessagesOptions,
} from '../../../src/orchestrator/compose-messages.ts';
import { composeOutbox, type OutboxParts } from '../../../src/orchestrator/compose-outbox.ts';
import { asWorker, startTestServer, type TestServer } from '../../helpers/http.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';
import { patient } from '../../patience.ts';

export interface Harness {
  readonly redisServer: TestRedis;
  readonly redis: ReturnType<typeof createRedis>;
  readonly database: Database;
  readonly dir: string;
  readonly messages: Messages;
  readonly http: TestServer;
  readonly parts: OutboxParts;
  /** Works as the worker of a session: claims up to `max` tasks and ends each as told. @returns the task ids */
  work(sessionId: string, max: number, how?: 'ack' | 'hold' | 'fail'): Promise<string[]>;
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
  const subscriber = createSubscriber({ url: redisServer.url, name: 'test', log: silentLogger });
  const outbox = composeOutbox({
    redis,
    subscriber,
    scripts: new ScriptRunner(redis),
    database,
    leases: { ...DEFAULT_LEASE_POLICY, maxDeliveries: 2 },
    isDeleted: async (id) => (await createSessionDirectory(database).find(id)) === null,
    clock: systemClock,
    log: silentLogger,
  });
  await outbox.service.start();
  const messages = composeMessages({
    redisUrl: redisServer.url,
    redis,
    database,
    outbox: outbox.outbox,
    mediaDir: join(dir, 'media'),
    dispatcher: 'inline',
    clock: systemClock,
    log: silentLogger,
    recoveryIntervalMs: 100,
    ...options,
  });
  await messages.service.start();
  const http = await startTestServer([...messages.routes, ...outbox.routes]);
  return {
    redisServer,
    redis,
    database,
    dir,
    messages,
    http,
    parts: outbox,
    work: (sessionId, max, how = 'ack') => work(http.url, sessionId, max, how),
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
      await outbox.service.stop();
      await database.close();
      redis.disconnect();
      subscriber.disconnect();
      await redisServer.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function work(
  url: string,
  sessionId: string,
  max: number,
  how: 'ack' | 'hold' | 'fail',
): Promise<string[]> {
  const call = async (action: string, body?: unknown) => {
    const response = await fetch(`${url}/api/worker/sessions/${sessionId}/outbox/${action}`, {
      method: 'POST',
      headers: asWorker,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return (await response.json()) as { tasks?: { raw: string; task: { taskId: string } }[] };
  };
  const done: string[] = [];
  while (done.length < max) {
    const { tasks = [] } = await call(`claim?timeout=0&max=${Math.min(100, max - done.length)}`);
    if (tasks.length === 0) break;
    done.push(...tasks.map(({ task }) => task.taskId));
    if (how === 'ack') await call('ack', { raws: tasks.map(({ raw }) => raw) });
    if (how === 'fail') {
      for (const { raw } of tasks) await call('nack', { raw, permanent: true, reason: 'not_on_whatsapp' });
    }
    if (how === 'hold') break;
  }
  return done;
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

export async function until<T>(
  look: () => Promise<T>,
  isThere: (value: T) => boolean,
  withinMs = 10_000,
): Promise<T> {
  const deadline = systemClock.monotonicMs() + patient(withinMs);
  for (;;) {
    const value = await look();
    if (isThere(value)) return value;
    if (systemClock.monotonicMs() > deadline)
      throw new Error(`still ${JSON.stringify(value)?.slice(0, 300)}`);
    await systemClock.sleep(20);
  }
}

/** Until so many tasks are in the outbox of a session. */
export const queuedIn = (h: Harness, sessionId: string, count: number) =>
  until(
    () => h.outbox(sessionId),
    (tasks) => tasks.length === count,
  );
