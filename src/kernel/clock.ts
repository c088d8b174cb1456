/** The only source of time. Everything that asks for the time takes a `Clock`, so that tests can move it. */
export interface Clock {
  /** Wall clock, milliseconds since the Unix epoch. For records shown to people; never compared across hosts. */
  nowMs(): number;
  /** Monotonic milliseconds since an arbitrary origin. For durations, leases and deadlines inside one process. */
  monotonicMs(): number;
  /**
   * Waits. Resolves after `ms`, rejects with the signal's reason when it is aborted first.
   * @param ms duration in milliseconds; values below 0 count as 0
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const timer = setTimeout(
        () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
        Math.max(0, ms),
      );
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
    }),
};

/** ISO 8601 in UTC, as stored in SQL and shown on the wire. */
export const toIso = (ms: number): string => new Date(ms).toISOString();
