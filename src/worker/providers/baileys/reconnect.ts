import type { EndCause } from './end-cause.ts';

export type Decision =
  | { action: 'reconnect'; delayMs: number }
  /** As `reconnect`, with another web version. */
  | { action: 'new_version'; delayMs: number }
  /** Somebody else has the session: ask who owns it before anything else. */
  | { action: 'ask_owner' }
  | { action: 'logged_out' };

export interface Circumstances {
  /** Connections in a row that ended before they had been open for a while, this one included. */
  failures: number;
  /** Whether the account was paired when the connection started. */
  paired: boolean;
  backOffMinMs: number;
  backOffMaxMs: number;
  /** From 0 to 1: spreads the workers that lost their connection at the same instant. */
  random: number;
}

/** What to do after a connection has ended. Pure. */
export function decide(cause: EndCause, circumstances: Circumstances): Decision {
  const delayMs = backOff(circumstances);
  if (cause.kind === 'qr_expired') return { action: 'reconnect', delayMs: circumstances.backOffMinMs };
  if (cause.kind !== 'server') return { action: 'reconnect', delayMs };
  switch (cause.code) {
    case 515:
      return { action: 'reconnect', delayMs: 0 };
    case 401:
    case 403:
    case 419:
      // Before pairing there is no account to lose: a pairing that was refused starts over.
      return circumstances.paired ? { action: 'logged_out' } : { action: 'reconnect', delayMs };
    case 405:
      return { action: 'new_version', delayMs };
    case 440:
      return { action: 'ask_owner' };
    default:
      return { action: 'reconnect', delayMs };
  }
}

/** Doubles with each failure; between half of it and all of it, by chance. */
export function backOff({ failures, backOffMinMs, backOffMaxMs, random }: Circumstances): number {
  const full = Math.min(backOffMaxMs, backOffMinMs * 2 ** Math.min(20, Math.max(0, failures - 1)));
  return Math.round(full * (0.5 + random / 2));
}
