import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { DEFAULT_LEASE_POLICY } from '../../../src/domain/task.ts';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { createRedis, createSubscriber } from '../../../src/infra/redis/client.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import type { Service } from '../../../src/kernel/lifecycle.ts';
import { type Logger, silentLogger } from '../../../src/kernel/log.ts';
import { composeEvents, type EventParts } from '../../../src/orchestrator/compose-fleet.ts';
import { composeOutbox, type OutboxParts } from '../../../src/orchestrator/compose-outbox.ts';
import { composeWebhooks } from '../../../src/orchestrator/compose-webhooks.ts';
import type { Config } from '../../../src/orchestrator/config.ts';
import { announce } from '../../../src/services/events/event-log.ts';
import { asManager, startTestServer, type TestServer } from '../../helpers/http.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';
import { sessionRow } from '../restoration/harness.ts';

export type Settings = Config['webhooks'];

export interface WebhookHarness extends Pick<OutboxParts, 'ledger' | 'follower'>, EventParts {
  readonly server: TestRedis;
  readonly database: Database;
  readonly http: TestServer;
  /** Another one that delivers, with settings of its own. Not started. */
  deliverer(settings?: Partial<Settings>, log?: Logger): { service: Service; registry: Registry };
  /** A session whose events go to this address. */
  session(id: string, url: string | null): Promise<void>;
  /** `message.received`, numbered, so that order can be seen. */
  tell(sessionId: string, ...numbers: number[]): Promise<void>;
  /** What SQL holds: still waiting, and given up. */
  rows(): Promise<{ waiting: number; dead: number }>;
  /** With the management key, unless other headers are given. */
  call(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; body: unknown }>;
  stop(): Promise<void>;
}

const SETTINGS: Settings = {
  signingKeys: [],
  allowPrivate: true,
  timeoutMs: 1000,
  retryForMs: 60_000,
  backlog: 1000,
  atOnce: 16,
  atOncePerHost: 4,
};

/** Events, tasks and webhooks on a real Redis and SQLite, without a fleet. */
export async function startWebhooks(settings: Partial<Settings> = {}): Promise<WebhookHarness> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-webhooks-'));
  const server = await startRedis();
  const connection = { url: server.url, name: 'test', log: silentLogger };
  const redis = createRedis(connection);
  const subscriber = createSubscriber(connection);
  const database = await openDatabase({ sqlitePath: join(dir, 'test.sqlite') });
  const scripts = new ScriptRunner(redis);
  const base = { redis, subscriber, scripts, database, clock: systemClock, log: silentLogger };
  const events = composeEvents(base);
  const outbox = composeOutbox({
    ...base,
    leases: DEFAULT_LEASE_POLICY,
    isDeleted: async () => false,
    onTold: () => void announce(events.signals, silentLogger),
  });
  const made: Service[] = [];
  const compose = (own: Partial<Settings>, log: Logger) => {
    const registry = new Registry();
    const parts = composeWebhooks({
      ...base,
      signals: events.signals,
      settings: { ...SETTINGS, ...settings, ...own },
      registry,
      log,
    });
    made.push(parts.service);
    return { ...parts, registry };
  };
  const http = await startTestServer([...compose({}, silentLogger).routes, ...outbox.routes]);
  return {
    ...outbox,
    ...events,
    server,
    database,
    http,
    deliverer: (own = {}, log = silentLogger) => compose(own, log),
    async session(id, url) {
      const row = sessionRow(id, 0, null, new Date().toISOString());
      await database.db
        .insertInto('sessions')
        .values({ ...row, webhook_url: url })
        .execute();
    },
    async tell(sessionId, ...numbers) {
      for (const n of numbers) {
        const data = { id: `m${n}`, from: '972501234567', type: 'text', text: `${n}` };
        await events.events.record({ type: 'message.received', sessionId, data });
      }
    },
    async rows() {
      const rows = await database.db.selectFrom('webhook_events').select('dead_at').execute();
      const dead = rows.filter((row) => row.dead_at !== null).length;
      return { waiting: rows.length - dead, dead };
    },
    async call(method, path, body, headers = asManager) {
      const answer = await fetch(http.url + path, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return { status: answer.status, body: await answer.json() };
    },
    async stop() {
      for (const service of made) await service.stop();
      await outbox.service.stop();
      await http.stop();
      redis.disconnect();
      subscriber.disconnect();
      await database.close();
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** The numbers of `tell`, as they came. */
export const numbers = (received: readonly { event: { data: Record<string, unknown> } }[]): number[] =>
  received.map(({ event }) => Number(event.data.text));

export const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n);
