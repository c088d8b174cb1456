import type { Claim, ClaimRequest } from './ports.ts';

export interface Waiter {
  readonly request: ClaimRequest;
  readonly once: boolean;
  resolve(claim: Claim | null): void;
  reject(error: unknown): void;
  /** Settled, or its client has gone. */
  done: boolean;
  /** Its time is over while its claim is under way: the claim's outcome is its answer. */
  late: boolean;
  claiming: boolean;
  attempted: boolean;
  /** Of the last attempt, if it failed. */
  error: unknown;
  release(): void;
}

export const newWaiter = (
  request: ClaimRequest,
  once: boolean,
  { resolve, reject }: Pick<Waiter, 'resolve' | 'reject'>,
): Waiter => ({
  request,
  once,
  resolve,
  reject,
  done: false,
  late: false,
  claiming: false,
  attempted: false,
  error: undefined,
  release: () => undefined,
});

/** The polls that wait for one session, in the order of their arrival. */
export interface Line {
  readonly sessionId: string;
  readonly waiters: Set<Waiter>;
  busy: boolean;
  /** Something may have come since the present pass began. */
  dirty: boolean;
  /** Epoch of the claim that found nothing there, nor in flight; null if none did, or something may have come since. */
  emptyFor: number | null;
  cancelTimer: (() => void) | undefined;
  /** Told when it is not busy any more. */
  onServed: (() => void) | undefined;
}

export const newLine = (sessionId: string, emptyFor: number | null): Line => ({
  sessionId,
  waiters: new Set(),
  busy: false,
  dirty: false,
  emptyFor,
  cancelTimer: undefined,
  onServed: undefined,
});

/** Whether somebody has not had a claim of its own yet. */
export function hasUntried({ waiters }: Line): boolean {
  for (const { attempted } of waiters) if (!attempted) return true;
  return false;
}

/** Resolves when it is not busy. */
export function served(line: Line): Promise<void> {
  if (!line.busy) return Promise.resolve();
  return new Promise((resolve) => {
    line.onServed = resolve;
  });
}
