import { cp, readdir, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { TestRedis } from './redis.ts';

const folderOf = (server: TestRedis): string => join(server.dir, 'appendonlydir');

/** Until the server does not write its append-only log anew: meanwhile its files do not fit each other. */
export async function logAtRest(redis: Redis): Promise<void> {
  for (;;) {
    const info = await redis.info('persistence');
    if (info.includes('aof_rewrite_in_progress:0') && info.includes('aof_rewrite_scheduled:0')) return;
    await sleep(20);
  }
}

/** Copies the log of a running server as it is now. */
export async function copyLog(server: TestRedis, redis: Redis, to: string): Promise<void> {
  for (;;) {
    await logAtRest(redis);
    await rm(to, { recursive: true, force: true });
    const before = await namesIn(folderOf(server));
    await cp(folderOf(server), to, { recursive: true }).catch(ifGone);
    if (before === (await namesIn(folderOf(server))) && before === (await namesIn(to))) return;
  }
}

/** Puts a copy in the place of the log of a server that does not run. */
export async function putLogBack(server: TestRedis, from: string): Promise<void> {
  await rm(folderOf(server), { recursive: true, force: true });
  await cp(from, folderOf(server), { recursive: true });
}

/** Takes the last bytes off the log of a server that does not run. */
export async function cutLog(server: TestRedis, bytes: number): Promise<void> {
  const place = (name: string): number => Number(/\.(\d+)\.incr\.aof$/.exec(name)?.[1]);
  const names = (await readdir(folderOf(server))).filter((name) => name.endsWith('.incr.aof'));
  const last = join(folderOf(server), names.toSorted((a, b) => place(a) - place(b)).at(-1) ?? '');
  await truncate(last, Math.max(0, (await stat(last)).size - bytes));
}

const namesIn = async (dir: string): Promise<string> =>
  (await readdir(dir).catch(() => [])).toSorted().join('\n');

/** A rewrite has ended in the middle of the copy. */
function ifGone(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
