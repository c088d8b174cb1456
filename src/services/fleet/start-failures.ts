import { backoffMs } from '../../domain/backoff.ts';
import { type CrashPolicy, type ExitVerdict, judgeExit } from '../../domain/worker-exit.ts';
import { FlotillaError, messageOf } from '../../kernel/errors.ts';

/** What would be the same at the next try: these count as ends of the worker, until the session is `failed`. */
const OF_THE_WORKER = new Set(['image_missing', 'worker_not_started']);
/** Until the next try to place a session that no node takes. */
const NO_PLACE_MS = 5000;

/**
 * What to do about a worker that could not be started. An engine that does not answer, a full disk and a registry
 * that is down are no fault of the session's: it is tried again, with growing pauses, for as long as it takes.
 */
export class StartFailures {
  readonly #policy: CrashPolicy;
  /** Session id → tries in a row. Forgotten by a restart of ours, which begins with short pauses again. */
  readonly #inARow = new Map<string, number>();

  constructor(policy: CrashPolicy) {
    this.#policy = policy;
  }

  /** @param crashes quick ends in a row before */
  judge(sessionId: string, crashes: number, error: unknown): ExitVerdict {
    if (!isPassing(error)) {
      const cause = `the worker could not be started: ${messageOf(error)}`;
      return judgeExit(
        { code: null, signal: null, cause, lastLines: [] },
        0,
        crashes,
        this.#policy,
        Math.random(),
      );
    }
    const tries = (this.#inARow.get(sessionId) ?? 0) + 1;
    this.#inARow.set(sessionId, tries);
    const delayMs =
      error.code === 'no_place' ? NO_PLACE_MS : backoffMs(tries, this.#policy.backoff, Math.random());
    return { verdict: 'restart', crashes, delayMs, reason: messageOf(error), blameless: true };
  }

  forget(sessionId: string): void {
    this.#inARow.delete(sessionId);
  }
}

const isPassing = (error: unknown): error is FlotillaError =>
  error instanceof FlotillaError && error.kind === 'unavailable' && !OF_THE_WORKER.has(error.code);
