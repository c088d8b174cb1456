import type { ChildProcess } from 'node:child_process';
import type { Clock } from '../../kernel/clock.ts';
import { killRest, killTree, startNow, startOf } from './process-signals.ts';

/** How a process ended; both null if nobody was there to be told. */
export interface ProcessExit {
  code: number | null;
  signal: string | null;
  /** What is to be said in their place. */
  cause: string | null;
}

/** The process of a worker, whoever has started it. It leads a process group. */
export interface WorkerProcess {
  /** Undefined if it could not be started. */
  readonly pid: number | undefined;
  readonly exit: Promise<ProcessExit>;
  /** Asks it to end; nothing if it is gone. */
  terminate(): void;
  /** SIGKILL to it and to what it has started; nothing if it is gone. */
  kill(): void;
  /** After its end: SIGKILL to what it has started. */
  killRest(): void;
}

/** @param onFailure is told why it could not be started */
export function ownProcess(child: ChildProcess, onFailure: (message: string) => void): WorkerProcess {
  const exit = new Promise<ProcessExit>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal, cause: null }));
    child.on('error', (error) => {
      // Only a process that never was has no id; other errors are about messages to a living one.
      if (child.pid !== undefined) return;
      onFailure(error.message);
      resolve({ code: null, signal: null, cause: null });
    });
  });
  return {
    pid: child.pid,
    exit,
    terminate: () => void child.kill('SIGTERM'),
    kill() {
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
        killTree(child.pid, 'SIGKILL');
      }
    },
    killRest() {
      if (child.pid !== undefined) killRest(child.pid, 'SIGKILL');
    },
  };
}

const LOOK_EVERY_MS = 500;
/** Somebody waits for its end. */
const LOOK_OFTEN_MS = 20;

/**
 * One that an earlier run of ours has started. Nobody is told of its end: it is looked at. Linux only.
 * @param started when it began, as `startOf` has it: another process with its id is let alone
 */
export function adoptedProcess(pid: number, started: string, clock: Clock): WorkerProcess {
  const awaited = new AbortController();
  const isThere = (): boolean => startNow(pid) === started;
  const watch = async (): Promise<ProcessExit> => {
    while ((await startOf(pid)) === started) {
      if (awaited.signal.aborted) await clock.sleep(LOOK_OFTEN_MS);
      else await clock.sleep(LOOK_EVERY_MS, awaited.signal).catch(() => undefined);
    }
    return { code: null, signal: null, cause: 'the worker ended, and nobody was there to be told how' };
  };
  return {
    pid,
    exit: watch(),
    terminate() {
      if (isThere()) process.kill(pid, 'SIGTERM');
      awaited.abort();
    },
    kill() {
      if (isThere()) killTree(pid, 'SIGKILL');
      awaited.abort();
    },
    killRest() {
      // With a process of this id there, the group may be a stranger's.
      if (startNow(pid) === null) killRest(pid, 'SIGKILL');
    },
  };
}
