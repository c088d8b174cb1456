import { type BackoffPolicy, backoffMs } from './backoff.ts';

/** Exit codes by which a worker says why it ended; every other code is a crash. Part of the worker's contract. */
export const WORKER_EXIT = { stopped: 0, badConfig: 2, loggedOut: 3, stale: 4 } as const;

/** How a worker ended, as its runtime saw it. */
export interface WorkerExit {
  code: number | null;
  signal: string | null;
  /** What the runtime knows beyond that, such as `out of memory`. */
  cause: string | null;
  /** The last lines that it printed, oldest first. */
  lastLines: readonly string[];
  /** Its node went, or gave it up: that tells nothing about the worker. */
  byNode?: boolean;
}

export interface CrashPolicy {
  /** An end within this time after the start is a quick one. */
  quickMs: number;
  /** So many quick ends in a row make the session `failed`. */
  maxQuick: number;
  backoff: BackoffPolicy;
}

export type ExitVerdict =
  /** `blameless`: what ended it says nothing about the worker. */
  | { verdict: 'restart'; crashes: number; delayMs: number; reason: string; blameless?: true }
  | { verdict: 'fail'; crashes: number; reason: string }
  | { verdict: 'logged_out'; reason: string };

const MAX_REASON_LENGTH = 600;

/**
 * What to do about a worker that ended although nobody stopped it.
 * @param crashes quick ends in a row before this one
 * @param random from 0 (inclusive) to 1 (exclusive), for the jitter
 */
export function judgeExit(
  exit: WorkerExit,
  ranMs: number,
  crashes: number,
  policy: CrashPolicy,
  random: number,
): ExitVerdict {
  const reason = describeExit(exit);
  if (exit.code === WORKER_EXIT.loggedOut) return { verdict: 'logged_out', reason };
  // Started again it would read the same variables.
  if (exit.code === WORKER_EXIT.badConfig) return { verdict: 'fail', crashes, reason };
  // However often its nodes go, the session is not to blame, and nothing is gained by a wait.
  if (exit.byNode) return { verdict: 'restart', crashes, delayMs: 0, reason, blameless: true };
  const quick = ranMs < policy.quickMs;
  const inARow = quick ? crashes + 1 : 0;
  if (inARow >= policy.maxQuick) {
    const seconds = Math.round(policy.quickMs / 1000);
    const times = `ended ${inARow} times in a row within ${seconds} s of its start`;
    return { verdict: 'fail', crashes: inARow, reason: `the worker ${times}: ${reason}` };
  }
  return {
    verdict: 'restart',
    crashes: inARow,
    // A first end is no reason to wait: only one that follows it soon says that something is wrong.
    delayMs: inARow <= 1 ? 0 : backoffMs(inARow, policy.backoff, random),
    reason,
  };
}

/** One line: how it ended, and its last words. */
export function describeExit({ code, signal, cause, lastLines }: WorkerExit): string {
  const how =
    cause ?? (signal ? `worker killed by ${signal}` : `worker ended with exit code ${code ?? 'unknown'}`);
  const words = lastLines.slice(-3).join(' | ');
  return (words ? `${how}; last lines: ${words}` : how).slice(0, MAX_REASON_LENGTH);
}
