import { type Clock, toIso } from '../../kernel/clock.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';

/** Deletes what ended before a time, at most `limit` rows a call, so that no call holds the database for long. */
export interface RetentionStore {
  /** @returns rows deleted; fewer than `limit` when nothing is left */
  deleteEnded(subject: RetentionSubject, before: string, limit: number): Promise<number>;
  /**
   * The time of the `count`-th newest row, counted from the newest of those that are not newer than `from` (null:
   * from the newest of all); null if there are not so many.
   */
  timeOfNewest(subject: CountedSubject, count: number, from: string | null): Promise<string | null>;
}

/** The same for what Redis keeps of tasks that have ended. */
export interface OutboxRetention {
  /** Dead tasks, and ids of ended ones, that are too old or too many of their session. @returns dead tasks */
  forgetEnded(signal: AbortSignal): Promise<number>;
}

export const RETENTION_SUBJECTS = ['tasks', 'jobs', 'events', 'bindings', 'senders', 'webhooks'] as const;
export type RetentionSubject = (typeof RETENTION_SUBJECTS)[number];

/** Those that grow with what is sent. */
export const COUNTED_SUBJECTS = ['tasks', 'jobs', 'events'] as const;
export type CountedSubject = (typeof COUNTED_SUBJECTS)[number];

const DAY_MS = 86_400_000;
const PASS_EVERY_MS = 3_600_000;
const ROWS_A_CALL = 500;
/** Counted in one step: some milliseconds of the database. */
const ROWS_A_STEP = 20_000;
const BREATH_MS = 20;

/**
 * Keeps the ledger from growing without bound: what ended more than `days` ago, or stands behind the newest `rows`
 * of its kind, is deleted, in small bites. What has no end stays. Dead lists and ids in Redis have bounds of their own.
 */
export function createRetention(deps: {
  store: RetentionStore;
  outboxes: OutboxRetention;
  days: number;
  /** Of tasks, of jobs and of events, each. */
  rows: number;
  clock: Clock;
  log: Logger;
}): Service {
  const { store, days, clock, log } = deps;

  /** Where the newest `rows` end; null if there are no more than that. */
  const boundary = async (subject: RetentionSubject, signal: AbortSignal): Promise<string | null> => {
    const counted = COUNTED_SUBJECTS.find((name) => name === subject);
    let from: string | null = null;
    for (let left = deps.rows; counted && left > 0 && !signal.aborted; left -= ROWS_A_STEP) {
      from = await store.timeOfNewest(counted, Math.min(left, ROWS_A_STEP), from);
      if (from === null) break;
      if (left > ROWS_A_STEP) await clock.sleep(BREATH_MS, signal);
    }
    return from;
  };

  return new Loop({
    name: 'retention',
    intervalMs: PASS_EVERY_MS,
    clock,
    log,
    run: async (signal) => {
      const old = toIso(clock.nowMs() - days * DAY_MS);
      for (const subject of RETENTION_SUBJECTS) {
        const surplus = await boundary(subject, signal);
        const before = surplus !== null && surplus > old ? surplus : old;
        let deleted = 0;
        for (let rows = ROWS_A_CALL; rows === ROWS_A_CALL && !signal.aborted; ) {
          rows = await store.deleteEnded(subject, before, ROWS_A_CALL);
          deleted += rows;
          // Others wait for the one writer of SQLite.
          if (rows === ROWS_A_CALL) await clock.sleep(BREATH_MS, signal);
        }
        if (deleted > 0) log.info({ subject, deleted }, 'deleted what is older than the retention');
      }
      const forgotten = await deps.outboxes.forgetEnded(signal);
      if (forgotten > 0) log.info({ forgotten }, 'dead tasks left their lists');
    },
  });
}
