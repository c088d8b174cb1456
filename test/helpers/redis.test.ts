import { Redis } from 'ioredis';
import { afterEach, expect, test } from 'vitest';
import { startRedis, type TestRedis } from './redis.ts';

let redis: TestRedis | undefined;
afterEach(async () => {
  await redis?.stop();
  redis = undefined;
});

test('a test server answers, wants its password, and is gone after stop', async () => {
  redis = await startRedis();
  const client = new Redis(redis.url, { maxRetriesPerRequest: 1 });
  expect(await client.ping()).toBe('PONG');
  client.disconnect();

  const stranger = new Redis({
    port: redis.port,
    host: '127.0.0.1',
    lazyConnect: true,
    retryStrategy: () => null,
  });
  stranger.on('error', () => {});
  await expect(stranger.ping()).rejects.toThrow();
  stranger.disconnect();

  const { pid } = redis;
  await redis.stop();
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});

test('data outlives kill and restart with append-only, and goes if asked', async () => {
  redis = await startRedis({ appendOnly: true });
  const client = new Redis(redis.url);
  await client.set('k', 'v');
  await redis.kill();
  await redis.restart();
  expect(await client.get('k')).toBe('v');
  await redis.restart({ keepData: false });
  expect(await client.get('k')).toBeNull();
  client.disconnect();
});

test('a paused server answers after it is resumed', async () => {
  redis = await startRedis();
  const client = new Redis(redis.url);
  await client.ping();
  redis.pause();
  const pong = client.ping();
  expect(await Promise.race([pong, new Promise((done) => setTimeout(() => done('silence'), 200))])).toBe(
    'silence',
  );
  redis.resume();
  expect(await pong).toBe('PONG');
  client.disconnect();
});
