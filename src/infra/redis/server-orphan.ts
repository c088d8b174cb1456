import { execFile } from 'node:child_process';
import { readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';

const run = promisify(execFile);
const SERVER_NAME = /^(redis|valkey)-server$/;
const POLL_MS = 20;

/**
 * Makes sure that no server works on the data directory: two on one append-only file would destroy it.
 * A server whose parent died is usually about to end, so it is waited for; then it is asked, then killed.
 * @param dir existing directory
 * @param patienceMs how long to wait before each of the two stronger steps
 * @throws Error if the server cannot be ended (it belongs to another user)
 */
export async function endPreviousServer(
  dir: string,
  { clock, log, patienceMs = 3_000 }: { clock: Clock; log: Logger; patienceMs?: number },
): Promise<void> {
  const home = await realpath(dir);
  const steps: (NodeJS.Signals | undefined)[] = [undefined, 'SIGTERM', 'SIGKILL'];
  for (const signal of steps) {
    const pids = await serversIn(home);
    if (pids.length === 0) return;
    if (signal)
      log.warn({ pids, signal }, 'ending a Redis server that an earlier run left on this data directory');
    for (const pid of pids) if (signal) endQuietly(pid, signal);
    const until = clock.monotonicMs() + patienceMs;
    while (clock.monotonicMs() < until) {
      if ((await serversIn(home)).length === 0) return;
      await clock.sleep(POLL_MS);
    }
  }
  const left = await serversIn(home);
  throw new Error(`A Redis server (pid ${left.join(', ')}) works on ${home} and cannot be ended.`);
}

/**
 * The servers whose working directory this is. On Linux the kernel knows (a server changes into its data
 * directory); elsewhere the pid file that the server wrote there is believed if that pid is a Redis server.
 */
async function serversIn(home: string): Promise<number[]> {
  if (process.platform === 'linux') {
    const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const found = await Promise.all(pids.map(async (pid) => (await worksIn(pid, home)) && Number(pid)));
    return found.filter((pid) => pid !== false);
  }
  const text = await readFile(join(home, 'redis.pid'), 'utf8').catch(ignoreMissing);
  const pid = Number(text?.trim());
  if (!Number.isInteger(pid) || pid <= 1) return [];
  const command = await run('ps', ['-o', 'comm=', '-p', String(pid)]).then(
    ({ stdout }) => basename(stdout.trim()),
    () => '', // ps exits with 1 when there is no such process
  );
  return SERVER_NAME.test(command) ? [pid] : [];
}

async function worksIn(pid: string, home: string): Promise<boolean> {
  try {
    if (!SERVER_NAME.test((await readFile(`/proc/${pid}/comm`, 'utf8')).trim())) return false;
    // A dead process that nobody has collected yet has no working directory any more: ENOENT.
    return (await readlink(`/proc/${pid}/cwd`)) === home;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return false;
    throw error;
  }
}

function endQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}
