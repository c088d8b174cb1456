import { type Clock, toIso } from '../../kernel/clock.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';

/** Deletes what ended before a time, at most `limit` rows a call, so that no call holds the database for long. */
export interface RetentionStore {
  /** @returns rows deleted; fewer than `limit` when nothing is left */
  deleteEnded(subject: RetentionSubject, before: string, limit: number): Promise<number>;
}

export const RETENTION_SUBJECTS = ['tasks', 'jobs', 'events', 'bindings', 'senders'] as const;
export type RetentionSubject = (typeof RETENTION_SUBJECTS)[number];

const DAY_MS = 86_400_000;
const PASS_EVERY_MS = 3_600_000;
const ROWS_A_CALL = 500;
const BREATH_MS = 20;

/** Keeps the ledger from growing without bound: what ended more than `days` ago is deleted, in small bites. */
export function createRetention(deps: {
  store: RetentionStore;
  days: number;
  clock: Clock;
  log: Logger;
}): Service {
  const { store, days, clock, log } = deps;
  return new Loop({
    name: 'retention',
    intervalMs: PASS_EVERY_MS,
    clock,
    log,
    run: async (signal) => {
      const before = toIso(clock.nowMs() - days * DAY_MS);
      for (const subject of RETENTION_SUBJECTS) {
        let deleted = 0;
        for (let rows = ROWS_A_CALL; rows === ROWS_A_CALL && !signal.aborted; ) {
          rows = await store.deleteEnded(subject, before, ROWS_A_CALL);
          deleted += rows;
          // Others wait for the one writer of SQLite.
          if (rows === ROWS_A_CALL) await clock.sleep(BREATH_MS, signal);
        }
        if (deleted > 0) log.info({ subject, deleted }, 'deleted what is older than the retention');
      }
    },
  });
}
