import { afterAll, beforeAll, beforeEach } from 'vitest';
import { canonicalRaw, DEFAULT_LEASE_POLICY, type LeasePolicy } from '../../../src/domain/task.ts';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { RedisLedgerStream } from '../../../src/infra/redis/ledger-stream.ts';
import { RedisOutboxStore } from '../../../src/infra/redis/outbox-store.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import type { ClaimRequest, NackRequest } from '../../../src/services/outbox/ports.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

export interface StoreFixture {
  server: TestRedis;
  redis: ReturnType<typeof createRedis>;
  store: RedisOutboxStore;
  stream: RedisLedgerStream;
  jump(ms: number): void;
  /** `type taskId …` of everything in the ledger stream, in order. */
  ledger(): Promise<string[]>;
  /** Oldest first. */
  queue(): Promise<string[]>;
  processing(): Promise<string[]>;
}

export const S = 's1';

export const raw = (taskId: string, extra: Record<string, unknown> = {}): string =>
  canonicalRaw({ taskId, mode: 'message', to: '972501234567', text: 'hi', ...extra });
export const queued = (taskId: string, extra?: Record<string, unknown>) => ({
  taskId,
  raw: raw(taskId, extra),
});
export const poll = (given: Partial<ClaimRequest> = {}): ClaimRequest => ({
  sessionId: S,
  epoch: 0,
  requestId: `r${Math.random()}`,
  max: 1,
  ...given,
});
export const giveBack = (text: string, given: Partial<NackRequest> = {}): NackRequest => ({
  sessionId: S,
  epoch: 0,
  raw: text,
  claimId: '',
  delayMs: 0,
  permanent: false,
  reason: '',
  countAttempt: true,
  ...given,
});

/** A Redis server for the file, emptied before each test. */
export function storeFixture(leases: Partial<LeasePolicy> = {}): StoreFixture {
  const fixture = {} as StoreFixture;
  let offset = 0;
  beforeAll(async () => {
    fixture.server = await startRedis();
    fixture.redis = createRedis({ url: fixture.server.url, name: 'test', log: silentLogger });
    const scripts = new ScriptRunner(fixture.redis);
    fixture.store = new RedisOutboxStore({
      redis: fixture.redis,
      scripts,
      leases: { ...DEFAULT_LEASE_POLICY, ...leases },
      timeOffsetMs: () => offset,
    });
    fixture.stream = new RedisLedgerStream({ redis: fixture.redis, scripts });
    fixture.jump = (ms) => {
      offset += ms;
    };
    fixture.ledger = async () => {
      const { entries } = await fixture.stream.read(10_000);
      return entries.map(({ type, taskIds }) => [type, ...taskIds].join(' '));
    };
    fixture.queue = async () => (await fixture.redis.lrange(keys.outbox(S), 0, -1)).reverse();
    fixture.processing = async () => (await fixture.redis.lrange(keys.outboxProcessing(S), 0, -1)).reverse();
  });
  beforeEach(async () => {
    offset = 0;
    await fixture.redis.flushall();
  });
  afterAll(async () => {
    fixture.redis.disconnect();
    await fixture.server.stop();
  });
  return fixture;
}

/** The calls of a store in short, for tasks of the one session, by their ids. */
export function verbsOf(f: StoreFixture) {
  return {
    enqueue: (...ids: string[]) =>
      f.store.enqueue(
        S,
        ids.map((id) => queued(id)),
      ),
    /** Ids of what a claim hands out, with the attempt: `a1 b1`; or what it says instead. */
    async claim(given: Partial<ClaimRequest> = {}): Promise<string> {
      const outcome = await f.store.claim(poll(given));
      if (outcome.kind !== 'tasks') return outcome.kind;
      return outcome.tasks
        .map(({ raw: text, attempt }) => `${(JSON.parse(text) as { taskId: string }).taskId}${attempt}`)
        .join(' ');
    },
    ack: (...ids: string[]) =>
      f.store.ack(
        S,
        ids.map((id) => ({ raw: raw(id), whatsappId: '' })),
      ),
  };
}
