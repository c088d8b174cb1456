import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { IncarnationFence } from '../../../src/infra/redis/incarnation.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { RedisLedgerStream } from '../../../src/infra/redis/ledger-stream.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

// A process that was killed has given nothing back; the one that comes after it in the same place need not wait.

let server: TestRedis;
let redis: ReturnType<typeof createRedis>;
beforeAll(async () => {
  server = await startRedis();
  redis = createRedis({ url: server.url, name: 'test', log: silentLogger });
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

test('what one process restores, the next one in its place carries on at once, and nobody else', async () => {
  expect(await new IncarnationFence(redis, 'here').lead()).toBe(true);
  expect(await new IncarnationFence(redis, 'there').lead()).toBe(false);
  expect(await new IncarnationFence(redis).lead()).toBe(false);
  expect(await new IncarnationFence(redis, 'here').lead()).toBe(true);
  await redis.del(keys.restorer);
  const unnamed = new IncarnationFence(redis);
  expect(await unnamed.lead()).toBe(true);
  expect(await new IncarnationFence(redis).lead()).toBe(false);
});

test('so is the ledger followed', async () => {
  const scripts = new ScriptRunner(redis);
  const stream = (place?: string) =>
    new RedisLedgerStream({ redis, scripts, ...(place === undefined ? {} : { place }) });
  expect(await stream('here').lead(60_000)).toBe(true);
  expect(await stream('there').lead(60_000)).toBe(false);
  expect(await stream().lead(60_000)).toBe(false);
  expect(await stream('here').lead(60_000)).toBe(true);
});

test('a connection that is lost is tried again at least five times a second', () => {
  const waits = [1, 2, 3, 10, 1000].map((attempt) => redis.options.retryStrategy?.(attempt));
  expect(waits).toEqual([50, 100, 150, 200, 200]);
});
