import type { Answered } from './load.ts';
import type { FaultRecord } from './recovery.ts';

/** So long may pass with nothing wrong. */
const SLOW_MS = 1000;

/**
 * How many messages were accepted late while faults of each kind went on, most first. One that met several counts
 * for each; `nothing` is what met none.
 */
export function slowAnswers(
  answers: readonly Answered[],
  faults: readonly FaultRecord[],
): { count: number; kinds: [kind: string, count: number][] } {
  const slow = answers.filter(({ tookMs }) => tookMs > SLOW_MS);
  const kinds = new Map<string, number>();
  for (const { beganMs, tookMs } of slow) {
    const met = faults.filter(({ startMs, endMs }) => startMs < beganMs + tookMs && endMs > beganMs);
    const names = new Set(met.length > 0 ? met.map(({ kind }) => kind) : ['nothing']);
    for (const name of names) kinds.set(name, (kinds.get(name) ?? 0) + 1);
  }
  return { count: slow.length, kinds: [...kinds].toSorted(([, a], [, b]) => b - a) };
}
