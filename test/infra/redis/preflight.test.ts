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
