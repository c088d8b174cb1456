import { systemClock } from '../../kernel/clock.ts';

/** As long as SQLite's own patience would be. */
const PATIENCE_MS = 10_000;
/** A transaction of another process lasts some milliseconds: whoever sleeps longer than that wastes the rest. */
const SHORT_SLEEP_MS = 0.5;
const SHORT_SLEEPS_FOR_MS = 50;
const LONG_SLEEP_MS = 2;

/**
 * Tries again while another process holds the file. SQLite's own way of waiting sleeps up to 25 ms at a time, and
 * after a quarter of a second 100, in which the file is free and nobody knows. Blocks its thread.
 * @param work outside of a transaction, or what begins one: refused, it has done nothing
 * @throws what `work` throws; after ten seconds `SQLITE_BUSY` too
 */
export function whenFree<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!isBusy(error)) throw error;
  }
  const began = systemClock.monotonicMs();
  const never = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const waitedMs = systemClock.monotonicMs() - began;
    Atomics.wait(never, 0, 0, waitedMs < SHORT_SLEEPS_FOR_MS ? SHORT_SLEEP_MS : LONG_SLEEP_MS);
    try {
      return work();
    } catch (error) {
      if (!isBusy(error) || waitedMs >= PATIENCE_MS) throw error;
    }
  }
}

/** `SQLITE_BUSY`, or one of its kinds. */
const isBusy = (error: unknown): boolean =>
  error instanceof Error && String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY');
