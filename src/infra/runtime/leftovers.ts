import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Clock } from '../../kernel/clock.ts';

const run = promisify(execFile);

const KILL_TIMEOUT_MS = 5000;
const LOOK_EVERY_MS = 20;

/** What was recorded of a process that has run. */
export interface LeftRecord {
  name: string;
  /** As it was given; empty in the records of older releases. */
  note: string;
}

/**
 * One small file per running worker: its process id and when that process started, and a line for the caller. A
 * process id alone would be given to another program some day, and that one must not be killed.
 */
export class ProcessRecords {
  readonly #dir: string;
  readonly #clock: Clock;

  constructor(dir: string, clock: Clock) {
    this.#dir = dir;
    this.#clock = clock;
  }

  async save(name: string, pid: number, note: string): Promise<void> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    const started = await startOf(pid);
    if (started === null) return; // it has ended already
    const path = join(this.#dir, `${name}.pid`);
    await writeFile(`${path}.new`, `${pid} ${started}\n${note}\n`, { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  async remove(name: string): Promise<void> {
    await rm(join(this.#dir, `${name}.pid`), { force: true });
  }

  /**
   * Kills every recorded process that still runs, and waits until it is gone.
   * @returns all of them, and how many still ran
   */
  async killAll(): Promise<{ left: LeftRecord[]; killed: number }> {
    let killed = 0;
    const left: LeftRecord[] = [];
    for (const file of await this.#files()) {
      const path = join(this.#dir, file);
      const [line = '', note = ''] = (await readFile(path, 'utf8')).split('\n');
      const [pidText = '', ...rest] = line.trim().split(' ');
      const pid = Number(pidText);
      if (Number.isInteger(pid) && pid > 1 && (await startOf(pid)) === rest.join(' ')) {
        await this.#kill(pid, rest.join(' '));
        killed += 1;
      }
      await rm(path, { force: true });
      left.push({ name: file.slice(0, -'.pid'.length), note });
    }
    return { left, killed };
  }

  async #files(): Promise<string[]> {
    try {
      return (await readdir(this.#dir)).filter((name) => name.endsWith('.pid'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  async #kill(pid: number, started: string): Promise<void> {
    killTree(pid, 'SIGKILL');
    const deadline = this.#clock.monotonicMs() + KILL_TIMEOUT_MS;
    while ((await startOf(pid)) === started) {
      if (this.#clock.monotonicMs() > deadline) {
        throw new Error(`the worker process ${pid} of an earlier run cannot be ended`);
      }
      await this.#clock.sleep(LOOK_EVERY_MS);
    }
  }
}

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
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name of the program comes second, in brackets, and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : (fields[19] ?? null);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return null;
    throw error;
  }
}

async function startByPs(pid: number): Promise<string | null> {
  try {
    const { stdout } = await run('ps', ['-o', 'lstart=', '-p', String(pid)]);
    return stdout.trim() || null;
  } catch {
    return null; // ps ends with 1 for an unknown process
  }
}
