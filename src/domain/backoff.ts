export interface BackoffPolicy {
  /** Wait after the first failure, in milliseconds. */
  firstMs: number;
  /** No wait is longer than this. */
  maxMs: number;
  /** Share of the wait that chance may take off, 0 to 1: many that fail together do not come back together. */
  jitter: number;
}

/**
 * How long to wait after the n-th failure in a row: doubled each time, up to the limit.
 * @param failures from 1; 0 or less waits nothing
 * @param random a number from 0 (inclusive) to 1 (exclusive)
 */
export function backoffMs(failures: number, policy: BackoffPolicy, random: number): number {
  if (failures <= 0) return 0;
  const full = Math.min(policy.maxMs, policy.firstMs * 2 ** Math.min(failures - 1, 30));
  return Math.round(full * (1 - policy.jitter * random));
}
