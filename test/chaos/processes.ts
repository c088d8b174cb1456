import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** A program that is started again whenever it ends, until it is stopped. */
export interface Supervised {
  readonly name: string;
  readonly pid: number | undefined;
  /** Ends that nobody here has caused. */
  readonly unexpectedEnds: string[];
  /** SIGKILL; started again at once. */
  kill(): void;
  pause(): void;
  resume(): void;
  /** SIGTERM, and SIGKILL after ten seconds. */
  stop(): Promise<void>;
}

const RESTART_MS = 200;

/** @param env the whole environment of the program */
export function supervise(
  name: string,
  args: readonly string[],
  env: Record<string, string>,
  logFile: string,
): Supervised {
  const log = createWriteStream(logFile, { flags: 'a' });
  const unexpectedEnds: string[] = [];
  let child: ChildProcess;
  let stopping = false;
  let killed = false;
  let exited: Promise<void> = Promise.resolve();

  const launch = (): void => {
    // Nothing of ours outlives us, however we end.
    const tie = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL'] : [];
    const [file = process.execPath, ...rest] = [...tie, process.execPath, ...args];
    const mine = spawn(file, rest, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    child = mine;
    let lastLine = '';
    for (const stream of [mine.stdout, mine.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        // Its last words may come after its end.
        if (!log.writableEnded) log.write(chunk);
        lastLine = chunk.toString().trim().split('\n').at(-1) ?? lastLine;
      });
    }
    exited = new Promise((resolve) => {
      mine.once('exit', (code, signal) => {
        resolve();
        if (stopping) return;
        if (!killed) unexpectedEnds.push(`${name} ended (${signal ?? code}): ${lastLine.slice(0, 200)}`);
        killed = false;
        setTimeout(() => {
          if (!stopping) launch();
        }, RESTART_MS);
      });
    });
  };
  launch();
  return {
    name,
    get pid() {
      return child.pid;
    },
    unexpectedEnds,
    kill() {
      killed = true;
      child.kill('SIGKILL');
    },
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async stop() {
      stopping = true;
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      const late = new AbortController();
      await Promise.race([
        exited,
        sleep(10_000, undefined, { signal: late.signal })
          .then(() => void child.kill('SIGKILL'))
          .then(() => exited)
          .catch(() => undefined),
      ]);
      late.abort();
      const closed = new Promise((resolve) => log.once('close', resolve));
      log.end();
      await closed;
    },
  };
}

/** @returns whether there was such a process */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
