import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../kernel/clock.ts';
import { killTree, startOf } from './process-signals.ts';

const KILL_TIMEOUT_MS = 5000;
const LOOK_EVERY_MS = 20;

/** What was recorded of a process. */
export interface ProcessRecord {
  name: string;
  pid: number;
  /** As `startOf` has it. */
  started: string;
  /** As it was given; empty in the records of older releases. */
  note: string;
  /** Whether this very process still runs. */
  lives: boolean;
}

/**
 * One small file per process: its id and when it started, a line for the caller, and since which boot of the machine
 * these mean anything. A process id alone would be given to another program some day, and that one must not be killed.
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
    const path = this.#path(name);
    await writeFile(`${path}.new`, `${pid} ${started}\n${note}\n${await bootId()}\n`, { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { force: true });
  }

  async all(): Promise<ProcessRecord[]> {
    const boot = await bootId();
    const files = await this.#files();
    return await Promise.all(files.map((file) => this.#read(file.slice(0, -'.pid'.length), boot)));
  }

  /** Kills a process that lives, and waits until it is gone. */
  async kill({ pid, started }: ProcessRecord): Promise<void> {
    killTree(pid, 'SIGKILL');
    const deadline = this.#clock.monotonicMs() + KILL_TIMEOUT_MS;
    while ((await startOf(pid)) === started) {
      if (this.#clock.monotonicMs() > deadline) {
        throw new Error(`the process ${pid} of an earlier run cannot be ended`);
      }
      await this.#clock.sleep(LOOK_EVERY_MS);
    }
  }

  #path(name: string): string {
    return join(this.#dir, `${name}.pid`);
  }

  async #read(name: string, boot: string): Promise<ProcessRecord> {
    const [line = '', note = '', since = ''] = (await readFile(this.#path(name), 'utf8')).split('\n');
    const [pidText = '', ...rest] = line.trim().split(' ');
    const [pid, started] = [Number(pidText), rest.join(' ')];
    // Records of older releases say nothing of the boot.
    const isOfNow = Number.isInteger(pid) && pid > 1 && (since === '' || since === boot);
    return { name, pid, started, note, lives: isOfNow && (await startOf(pid)) === started };
  }

  async #files(): Promise<string[]> {
    try {
      return (await readdir(this.#dir)).filter((name) => name.endsWith('.pid'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }
}

/** Empty where there is none: then starts are told by the calendar, and differ over boots by themselves. */
const bootId = async (): Promise<string> =>
  process.platform === 'linux' ? (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim() : '';
