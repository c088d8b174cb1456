/**
 * Where a job stands.
 * - `accepted`: stored, not looked at yet
 * - `waiting`: cannot go on; `waitingFor` says why
 * - `running`: being expanded, or expanded and not every message has an end yet
 * - `paused`: by a person; its messages wait in SQL, none is queued in an outbox
 * - `done`: every message has an end
 * - `cancelled`: by a person; what was not in flight will not be sent
 */
export const JOB_STATES = ['accepted', 'waiting', 'running', 'paused', 'done', 'cancelled'] as const;
export type JobState = (typeof JOB_STATES)[number];

/** The states in which the dispatcher works on a job. */
export const DISPATCHABLE: readonly JobState[] = ['accepted', 'waiting', 'running'];

export type JobAction = 'pause' | 'resume' | 'cancel' | 'retry-failed';

/** What an action does in a state: a new state, nothing because it is so already, or a refusal. */
export type JobMove = { kind: 'move'; to: JobState } | { kind: 'already' } | { kind: 'refused' };

const ALREADY: JobMove = { kind: 'already' };
const REFUSED: JobMove = { kind: 'refused' };
const to = (state: JobState): JobMove => ({ kind: 'move', to: state });

const TABLE: Record<JobAction, Record<JobState, JobMove>> = {
  pause: {
    accepted: to('paused'),
    waiting: to('paused'),
    running: to('paused'),
    paused: ALREADY,
    done: REFUSED,
    cancelled: REFUSED,
  },
  resume: {
    accepted: ALREADY,
    waiting: ALREADY,
    running: ALREADY,
    paused: to('running'),
    done: REFUSED,
    cancelled: REFUSED,
  },
  cancel: {
    accepted: to('cancelled'),
    waiting: to('cancelled'),
    running: to('cancelled'),
    paused: to('cancelled'),
    done: REFUSED,
    cancelled: ALREADY,
  },
  // A job that still has contacts to expand stays in its state: its failed messages are retried beside them.
  'retry-failed': {
    accepted: ALREADY,
    waiting: ALREADY,
    running: ALREADY,
    paused: REFUSED,
    done: to('running'),
    cancelled: REFUSED,
  },
};

export const jobMove = (action: JobAction, state: JobState): JobMove => TABLE[action][state];

/** Each message of a job counts in exactly one of these; their sum is `received`. */
export interface JobTotals {
  /** Without an end yet, whether it has reached an outbox or not. */
  queued: number;
  sent: number;
  delivered: number;
  read: number;
  failed: number;
  cancelled: number;
}

const ENDS = ['sent', 'delivered', 'read', 'failed', 'cancelled'] as const;

/**
 * @param counts task state → number of task rows of the job
 * @param received contacts of the job; those without a task row count as queued, or as cancelled with the job
 */
export function jobTotals(state: JobState, received: number, counts: ReadonlyMap<string, number>): JobTotals {
  const totals: JobTotals = { queued: 0, sent: 0, delivered: 0, read: 0, failed: 0, cancelled: 0 };
  let rows = 0;
  for (const [taskState, count] of counts) {
    rows += count;
    const end = ENDS.find((name) => name === taskState);
    totals[end ?? 'queued'] += count;
  }
  totals[state === 'cancelled' ? 'cancelled' : 'queued'] += Math.max(0, received - rows);
  return totals;
}

export interface JobProgress {
  /** 0 to 100, one decimal; 100 only when every message has an end. */
  percent: number;
  /** Seconds until the queued ones are sent at the present rate; null when nothing is being sent. */
  etaSeconds: number | null;
}

export function jobProgress(totals: JobTotals, received: number, ratePerMinute: number): JobProgress {
  const ended = received - totals.queued;
  return {
    percent: received === 0 ? 100 : Math.floor((ended / received) * 1000) / 10,
    etaSeconds:
      totals.queued === 0 ? 0 : ratePerMinute === 0 ? null : Math.ceil((totals.queued / ratePerMinute) * 60),
  };
}
