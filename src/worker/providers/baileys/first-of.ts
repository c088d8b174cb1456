export const CLOSED = Symbol('closed');
export const LATE = Symbol('late');

export interface Limits {
  /** Aborted when the connection ends: then the answer is `CLOSED`. */
  closed: AbortSignal;
  /** Aborted when the caller gives up: then it rejects with the signal's reason. */
  givenUp: AbortSignal;
  /** After this the answer is `LATE`. */
  timeoutMs?: number;
}

/**
 * What happens first. Baileys' own waits outlive the end of their connection by up to 20 s, so none is waited for
 * bare. Nothing stays behind on the signals, which live as long as the connection and see every send.
 */
export function firstOf<T>(work: Promise<T>, limits: Limits): Promise<T | typeof CLOSED | typeof LATE> {
  const { closed, givenUp, timeoutMs } = limits;
  return new Promise((resolve, reject) => {
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => settle(() => resolve(LATE)), timeoutMs);
    const onClosed = () => settle(() => resolve(CLOSED));
    const onGivenUp = () => settle(() => reject(givenUp.reason as Error));
    const settle = (how: () => void) => {
      clearTimeout(timer);
      closed.removeEventListener('abort', onClosed);
      givenUp.removeEventListener('abort', onGivenUp);
      how();
    };
    closed.addEventListener('abort', onClosed);
    givenUp.addEventListener('abort', onGivenUp);
    work.then(
      (value) => settle(() => resolve(value)),
      (error: unknown) => settle(() => reject(error as Error)),
    );
    if (givenUp.aborted) onGivenUp();
    else if (closed.aborted) onClosed();
  });
}
