/** An outage is over for a worker so soon after it is over for the orchestrator. */
const LONGEST_MS = 1000;

/**
 * Until the next try of what the orchestrator did not do or answer: doubled with each failure, up to a second;
 * between half of it and all of it, by chance.
 * @param failures from 1
 * @param firstMs after the first one
 */
export function retryDelayMs(failures: number, firstMs: number): number {
  const full = Math.min(LONGEST_MS, firstMs * 2 ** Math.min(failures - 1, 20));
  return Math.round(full * (0.5 + Math.random() / 2));
}
