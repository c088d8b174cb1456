/** What a session is (observed); what it should be is its `DesiredState`. */
export const SESSION_STATES = [
  'pending',
  'starting',
  'pairing',
  'connected',
  'reconnecting',
  'logged_out',
  'stopped',
  'failed',
] as const;
export type SessionState = (typeof SESSION_STATES)[number];

/** What a person wants of a session. */
export const DESIRED_STATES = ['running', 'stopped', 'deleted'] as const;
export type DesiredState = (typeof DESIRED_STATES)[number];

/**
 * The whole state machine: state → the states that may follow it.
 *
 * `pending` waits for a proxy, for its turn or for the end of a back-off; it has no worker. `starting`, `pairing`,
 * `connected` and `reconnecting` have one. `logged_out`, `stopped` and `failed` rest: only a person's start or
 * restart leads out of them.
 */
const TRANSITIONS: Record<SessionState, readonly SessionState[]> = {
  pending: ['starting', 'logged_out', 'stopped', 'failed'],
  starting: ['pending', 'pairing', 'connected', 'reconnecting', 'logged_out', 'stopped', 'failed'],
  pairing: ['pending', 'starting', 'connected', 'reconnecting', 'logged_out', 'stopped', 'failed'],
  connected: ['pending', 'starting', 'reconnecting', 'logged_out', 'stopped', 'failed'],
  reconnecting: ['pending', 'starting', 'pairing', 'connected', 'logged_out', 'stopped', 'failed'],
  logged_out: ['pending', 'stopped'],
  stopped: ['pending'],
  failed: ['pending', 'stopped'],
};

/** Whether `to` may follow `from`. A state does not follow itself. */
export const canFollow = (from: SessionState, to: SessionState): boolean => TRANSITIONS[from].includes(to);

/** The states from which `to` may be entered. */
export const statesBefore = (to: SessionState): SessionState[] =>
  SESSION_STATES.filter((from) => canFollow(from, to));

const RESTING = new Set<SessionState>(['logged_out', 'stopped', 'failed']);
const WORKING = new Set<SessionState>(['starting', 'pairing', 'connected', 'reconnecting']);

/** Whether only a person's start leads out of it. */
export const isResting = (state: SessionState): boolean => RESTING.has(state);

/** Whether it runs or is about to. */
export const isWanted = ({ desired, state }: { desired: DesiredState; state: SessionState }): boolean =>
  desired === 'running' && !isResting(state);

/** Whether a worker is expected to be there. */
export const hasWorker = (state: SessionState): boolean => WORKING.has(state);

/** What waits for this session, in the words of `waitingFor`; null when it can send. */
export function whatSessionWaitsFor(
  state: SessionState,
  desired: DesiredState,
  reason: string | null,
): string | null {
  const because = reason ? ` (${reason})` : '';
  if (desired === 'deleted') return 'was deleted';
  if (desired === 'stopped' && state !== 'stopped') return 'is being stopped';
  switch (state) {
    case 'pending':
      return `is waiting to be started${because}`;
    case 'starting':
      return 'is starting';
    case 'pairing':
      return 'is pairing: scan the QR';
    case 'connected':
      return null;
    case 'reconnecting':
      return `is reconnecting${because}`;
    case 'logged_out':
      return 'is logged out: start it and scan the QR';
    case 'stopped':
      return 'is stopped: start it';
    case 'failed':
      return `has failed${because}: start it again`;
  }
}
