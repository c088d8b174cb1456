import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Clock } from '../../kernel/clock.ts';
import { ProcessRecords } from './leftovers.ts';

const NAME = 'warden';

/**
 * A shell that outlives us. Its standard input ends when we do, however that happens. Then it looks who is recorded,
 * waits (the last line that came is for how many seconds), and kills them. Whoever takes the workers over ends it
 * first. It kills a group only if its leader began when the record says, so never a stranger with an id of ours.
 */
const SCRIPT = `seconds=$2
while IFS= read -r line; do seconds=$line; done
found=
for file in "$1"/*.pid; do
  { read -r pid started < "$file"; } && found="$found $pid:$started"
done
set -f
sleep "$seconds"
for each in $found; do
  pid=\${each%%:*}
  { read -r stat < "/proc/$pid/stat"; } || continue
  set -- \${stat##*) }
  [ "\${20}" = "\${each#*:}" ] && kill -KILL "-$pid"
done`;

/** Sees to it that workers which outlive us do so for a bounded time only, also those that hang. Linux only. */
export class ProcessWarden {
  readonly #workersDir: string;
  readonly #graceMs: number;
  /** Beside the directory of the workers' records, and not in it. */
  readonly #records: ProcessRecords;
  #child: ChildProcess | undefined;

  /** @param graceMs how long workers may go on without us */
  constructor(runDir: string, workersDir: string, graceMs: number, clock: Clock) {
    this.#workersDir = workersDir;
    this.#graceMs = graceMs;
    this.#records = new ProcessRecords(join(runDir, NAME), clock);
  }

  /** Ends the one of an earlier run: from now on nobody but us ends what that run has left. */
  async dismissPredecessor(): Promise<void> {
    for (const record of await this.#records.all()) {
      if (record.lives) await this.#records.kill(record);
      await this.#records.remove(record.name);
    }
  }

  /** Makes sure that there is one, before anybody is recorded. */
  async post(): Promise<void> {
    if (this.#child && this.#child.exitCode === null && this.#child.signalCode === null) return;
    const seconds = String(this.#graceMs / 1000);
    const child = spawn('/bin/sh', ['-c', SCRIPT, NAME, this.#workersDir, seconds], {
      stdio: ['pipe', 'ignore', 'ignore'],
      // Ctrl-C on a terminal is not for it.
      detached: true,
      env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
    });
    this.#child = child;
    child.on('error', () => undefined);
    child.stdin?.on('error', () => undefined);
    child.unref();
    if (child.pid !== undefined) await this.#records.save(NAME, child.pid, '');
  }

  /** From now on workers do not outlive us at all. */
  hurry(): void {
    this.#child?.stdin?.write('0\n');
  }

  /** There is nobody left to look after. */
  async dismiss(): Promise<void> {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
    await this.#records.remove(NAME);
  }
}
