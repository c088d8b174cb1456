/** Why a worker process ended, for whoever started it. `docs/worker.md` says what to do about each. */
export const EXIT = {
  /** Asked to stop (SIGTERM, SIGINT); everything was given back. */
  stopped: 0,
  /** An unexpected error: start it again, with back-off. */
  crashed: 1,
  /** A variable is missing or wrong (no proxy, for one): starting it again changes nothing. */
  badConfig: 2,
  /** WhatsApp unlinked or refused the account: it needs to be paired again by a person. */
  loggedOut: 3,
  /** Another worker owns the session now: do not start this one again. */
  stale: 4,
  /** The orchestrator's auth state and ours went apart: start again, which loads it afresh. */
  authOutOfStep: 5,
  /** The orchestrator refuses our token. */
  unauthorized: 6,
  /** The process that started us is gone. */
  orphaned: 7,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];
