import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  type ManagedRedis,
  managedRedisUrl,
  startManagedRedis,
} from '../../../src/infra/redis/managed-server.ts';
import { findOnPath } from '../../../src/infra/redis/server-binary.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { patient } from '../../patience.ts';

const CACHE_DIR = join(import.meta.dirname, '..', '..', '..', '.cache');
const searchPath = process.env.PATH ?? '';

let dataDir: string;
let redis: ManagedRedis | undefined;
let client: Redis | undefined;
const children: ChildProcess[] = [];

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'flotilla-managed "odd" name-'));
});
afterEach(async () => {
  client?.disconnect();
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await redis?.stop();
  redis = undefined;
  client = undefined;
  rmSync(dataDir, { recursive: true, force: true });
});

const options = (extra: Partial<Parameters<typeof startManagedRedis>[0]> = {}) => ({
  redisUrl: undefined,
  dataDir,
  cacheDir: CACHE_DIR,
  searchPath,
  clock: systemClock,
  log: silentLogger,
  ...extra,
});
const connect = (url: string): Redis => {
  client?.disconnect();
  client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on('error', () => {});
  return client;
};
const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};
const until = async (condition: () => boolean, withinMs: number): Promise<number> => {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > patient(withinMs)) throw new Error(`not within ${withinMs} ms`);
    await systemClock.sleep(10);
  }
  return performance.now() - start;
};

/** A process of its own that starts the managed server and prints its address. */
async function startInChild(): Promise<{ child: ChildProcess; url: string; pid: number }> {
  const root = join(import.meta.dirname, '..', '..', '..');
  const program = `
    const { startManagedRedis } = await import(${JSON.stringify(join(root, 'src/infra/redis/managed-server.ts'))});
    const { systemClock } = await import(${JSON.stringify(join(root, 'src/kernel/clock.ts'))});
    const { silentLogger } = await import(${JSON.stringify(join(root, 'src/kernel/log.ts'))});
    const options = ${JSON.stringify({ dataDir, cacheDir: CACHE_DIR, searchPath })};
    const redis = await startManagedRedis({ ...options, clock: systemClock, log: silentLogger });
    console.log(JSON.stringify({ url: redis.url, pid: redis.pid }));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout! })) {
    return { child, ...(JSON.parse(line) as { url: string; pid: number }) };
  }
  throw new Error('the child ended');
}

test('starts a server with durable settings, a password, and nothing secret in the process list', async () => {
  redis = await startManagedRedis(options());
  expect(redis.source).toMatch(/installed|unpacked/);
  const answers = connect(redis.url);
  expect(await answers.config('GET', 'appendonly')).toContain('yes');
  expect(await answers.config('GET', 'appendfsync')).toContain('everysec');
  expect(await answers.config('GET', 'maxmemory-policy')).toContain('noeviction');
  expect(await answers.config('GET', 'bind')).toContain('127.0.0.1');
  const password = new URL(redis.url).password;
  expect(password.length).toBeGreaterThan(20);
  expect(readFileSync(`/proc/${redis.pid}/cmdline`, 'utf8')).not.toContain(password);
  expect(redis.description).not.toContain(password);
  expect(statSync(join(dataDir, 'redis', 'server.json')).mode & 0o077).toBe(0);
  expect(await managedRedisUrl(dataDir)).toBe(redis.url);
});

test('data, port and password survive a graceful stop', async () => {
  redis = await startManagedRedis(options());
  const { url, pid } = redis;
  await connect(url).set('k', 'v');
  await redis.stop();
  await redis.stop();
  expect(alive(pid!)).toBe(false);
  redis = await startManagedRedis(options());
  expect(redis.url).toBe(url);
  expect(await connect(redis.url).get('k')).toBe('v');
});

test('SIGKILL of the parent ends the server within 2 s, and its data is there at the next start', async () => {
  const { child, url, pid } = await startInChild();
  await connect(url).set('k', 'v');
  expect(alive(pid)).toBe(true);
  child.kill('SIGKILL');
  await until(() => !alive(pid), 2_000);
  redis = await startManagedRedis(options());
  expect(await connect(redis.url).get('k')).toBe('v');
});

test('a start copes with the server of the last run that is still on the data directory', async () => {
  const { child, url, pid } = await startInChild();
  await connect(url).set('k', 'v');
  process.kill(pid, 'SIGSTOP'); // the signal of its parent's death reaches it and waits: it cannot end by itself
  child.kill('SIGKILL');
  await systemClock.sleep(100);
  expect(alive(pid)).toBe(true);
  const starting = startManagedRedis(options());
  await systemClock.sleep(500);
  expect(alive(pid)).toBe(true); // waited for, not killed at once
  process.kill(pid, 'SIGCONT');
  redis = await starting;
  expect(alive(pid)).toBe(false);
  expect(redis.pid).not.toBe(pid);
  expect(await connect(redis.url).get('k')).toBe('v');
});

test('a server that crashes comes back on the same port, and clients go on', async () => {
  redis = await startManagedRedis(options());
  const { url, pid } = redis;
  const survivor = connect(url);
  await survivor.set('k', 'v');
  process.kill(pid!, 'SIGKILL');
  await until(() => redis?.pid !== undefined && redis.pid !== pid, 5_000);
  expect(redis.url).toBe(url);
  expect(await survivor.get('k')).toBe('v');
});

test('a stop while the server is away starts none', async () => {
  redis = await startManagedRedis(options());
  process.kill(redis.pid!, 'SIGKILL');
  await until(() => redis?.pid === undefined, 1_000);
  await redis.stop();
  await systemClock.sleep(400);
  expect(redis.pid).toBeUndefined();
});

test('REDIS_URL is taken as it is, and nothing is started', async () => {
  redis = await startManagedRedis(options({ redisUrl: 'redis://user:secret@10.1.2.3:7000/2' }));
  expect(redis).toMatchObject({
    url: 'redis://user:secret@10.1.2.3:7000/2',
    source: 'external',
    pid: undefined,
  });
  expect(redis.description).toContain('10.1.2.3:7000');
  expect(redis.description).not.toContain('secret');
});

test('with no server, no apt and no Docker it says in one line what to do', async () => {
  const starting = startManagedRedis(options({ searchPath: dataDir, cacheDir: join(dataDir, 'cache') }));
  await expect(starting).rejects.toThrow(/^No Redis server to be had: install one .*REDIS_URL[^\n]*$/);
});

test('a server on the path that cannot start is reported with its own words', async () => {
  const bin = join(dataDir, 'bin');
  mkdirSync(bin);
  symlinkSync('/bin/false', join(bin, 'redis-server'));
  await expect(startManagedRedis(options({ searchPath: bin }))).rejects.toThrow(/redis-server did not start/);
});

test("without a server on the path, Debian's package is unpacked and runs", {
  timeout: 60_000,
}, async (context) => {
  const bin = join(dataDir, 'bin');
  mkdirSync(bin);
  for (const tool of ['apt-get', 'dpkg']) {
    const file = findOnPath([tool], searchPath);
    if (file === undefined) return context.skip(`there is no ${tool} on this machine`);
    symlinkSync(file, join(bin, tool));
  }
  redis = await startManagedRedis(options({ searchPath: bin, cacheDir: join(dataDir, 'cache') }));
  expect(redis.source).toBe('unpacked');
  expect(await connect(redis.url).ping()).toBe('PONG');
});
