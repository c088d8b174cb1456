import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A signal for a process that is known to be there, and its children. False if it is gone. */
export function killTree(pid: number, signal: NodeJS.Signals): boolean {
  return sendSignal(-pid, signal) || sendSignal(pid, signal);
}

/** A signal for what is left of a group whose leader has ended: never for its id, which may be another's by now. */
export const killRest = (leaderPid: number, signal: NodeJS.Signals): boolean =>
  sendSignal(-leaderPid, signal);

function sendSignal(target: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(target, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** When a process started, as text that differs for any two processes with the same id; null if there is none. */
export async function startOf(pid: number): Promise<string | null> {
  if (process.platform !== 'linux') return await startByPs(pid);
  try {
    return startIn(await readFile(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

/** As `startOf`, without a turn of the event loop between the look and what is done about it. Linux only. */
export function startNow(pid: number): string | null {
  try {
    return startIn(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

/** How long a process has run by a start that `startOf` has told. Linux only. */
export function ranMsSince(started: string): number {
  const uptimeMs = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
  return Math.max(0, uptimeMs - Number(started) * MS_PER_TICK);
}

/** Linux counts in hundredths of a second towards programs, whatever the kernel's own tick. */
const MS_PER_TICK = 10;

function startIn(stat: string): string | null {
  // The name of the program comes second, in brackets, and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' ? null : (fields[19] ?? null);
}

const isGone = (error: unknown): boolean =>
  ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');

async function startByPs(pid: number): Promise<string | null> {
  try {
    const { stdout } = await run('ps', ['-o', 'lstart=', '-p', String(pid)]);
    return stdout.trim() || null;
  } catch {
    return null; // ps ends with 1 for an unknown process
  }
}
