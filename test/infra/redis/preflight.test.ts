import { Redis } from 'ioredis';
import { afterEach, expect, test } from 'vitest';
import { checkRedis } from '../../../src/infra/redis/preflight.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

let server: TestRedis | undefined;
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

test('a durable server is fine', async () => {
  server = await startRedis({ appendOnly: true });
  expect(await checkRedis(server.url)).toEqual([]);
});

test('a server without an append-only file is warned about', async () => {
  server = await startRedis();
  expect(await checkRedis(server.url)).toEqual([expect.stringContaining('appendonly no')]);
});

test('one that writes its log when the system likes, or that may throw data away, is warned about', async () => {
  server = await startRedis({ appendOnly: true, appendFsync: 'no', maxMemoryBytes: 100_000_000 });
  const admin = new Redis(server.url);
  try {
    expect(await checkRedis(server.url)).toEqual([expect.stringContaining('appendfsync no')]);
    await admin.config('SET', 'appendfsync', 'everysec');
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
    expect(await checkRedis(server.url)).toEqual([expect.stringContaining('maxmemory-policy allkeys-lru')]);
    // Where nothing may be asked, nothing is claimed.
    await admin.acl('SETUSER', 'default', '-config');
    await admin.call('REPLICAOF', '127.0.0.1', '1');
    expect(await checkRedis(server.url)).toEqual([
      expect.stringContaining('maxmemory-policy'),
      expect.stringContaining('replica'),
    ]);
  } finally {
    admin.disconnect();
  }
});

test('one that is not there is named, without its password', async () => {
  await expect(checkRedis('redis://:geheim@127.0.0.1:1')).rejects.toThrow(
    /^Redis at 127\.0\.0\.1:1 cannot be used: .*ECONNREFUSED/,
  );
  await expect(checkRedis('redis://:geheim@127.0.0.1:1')).rejects.not.toThrow(/geheim/);
});

test('a wrong password is said', async () => {
  server = await startRedis();
  await expect(checkRedis(server.url.replace(server.password, 'wrong'))).rejects.toThrow(/WRONGPASS/);
});
