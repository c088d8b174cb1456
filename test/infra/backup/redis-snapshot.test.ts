import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { copyRedis } from '../../../src/infra/backup/redis-snapshot.ts';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { startManagedRedis } from '../../../src/infra/redis/managed-server.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { startRedis } from '../../helpers/redis.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flotilla-snapshot-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

test('a copy of a server that is written to starts as a server of our own, with each transaction whole', async () => {
  const source = await startRedis({ appendOnly: true });
  const redis = createRedis({ url: source.url, name: 'test', log: silentLogger });
  await redis.mset(Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`key:${n}`, 'x'.repeat(200)])));
  const stop = new AbortController();
  const writing = (async () => {
    while (!stop.signal.aborted) await redis.multi().incr('a').incr('b').exec();
  })();
  const bytes = await copyRedis(source.url, join(dir, 'redis'));
  expect(bytes).toBeGreaterThan(5000);
  stop.abort();
  await writing;
  const [a] = await redis.mget('a');
  redis.disconnect();
  await source.stop();

  const copy = await startManagedRedis({
    redisUrl: null,
    dataDir: dir,
    cacheDir: join(import.meta.dirname, '..', '..', '..', '.cache'),
    searchPath: process.env.PATH ?? '',
    clock: systemClock,
    log: silentLogger,
  });
  const restored = createRedis({ url: copy.url, name: 'test', log: silentLogger });
  const values = await restored.mget('a', 'b', 'key:4999');
  expect(values[0]).toBe(values[1]);
  expect(Number(values[0])).toBeGreaterThan(0);
  expect(Number(values[0])).toBeLessThanOrEqual(Number(a));
  expect(values[2]).toHaveLength(200);
  // It goes on from there, and keeps what comes.
  await restored.set('new', 'here');
  restored.disconnect();
  await copy.stop();
});

test('a wrong password, no server, and something else that listens are told in one line', async () => {
  const source = await startRedis();
  const url = new URL(source.url);
  url.password = 'wrong';
  await expect(copyRedis(String(url), join(dir, 'no'))).rejects.toThrow(
    /gives no copy: .*(WRONGPASS|invalid)/i,
  );
  await source.stop();
  await expect(copyRedis(source.url, join(dir, 'no'))).rejects.toThrow(/gives no copy: .*ECONNREFUSED/);
  const web = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  const { port } = web.address() as { port: number };
  await expect(copyRedis(`redis://127.0.0.1:${port}`, join(dir, 'no'))).rejects.toThrow(
    /gives no copy: it answered HTTP/,
  );
  web.close();
});
