import type { Redis } from 'ioredis';
import type { OutboxRetention } from '../../services/retention/retention.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

export interface OutboxRetentionOptions {
  redis: Redis;
  scripts: ScriptRunner;
  /** For how long, and how many per session, dead tasks are kept. */
  dead: { forMs: number; count: number };
  /** The same of the ids of ended tasks. */
  endedIds: { forMs: number; count: number };
  /** Only tests, which jump over the time, give one. */
  timeOffsetMs?: () => number;
}

const DEAD_A_CALL = 500;
const KEYS_A_STEP = 1000;

/** What ends in an outbox is trimmed by later acks of its session; this is for dead lists and silent sessions. */
export function createOutboxRetention(options: OutboxRetentionOptions): OutboxRetention {
  const { redis, scripts, dead, endedIds, timeOffsetMs = () => 0 } = options;

  /** @returns how many dead tasks; as many as may be a call when there may be more */
  const forget = (sessionId: string): Promise<number> =>
    scripts.run(
      'outbox-forget',
      [keys.outboxDead(sessionId), keys.outboxTaskIds(sessionId), keys.outboxEnded(sessionId)],
      [timeOffsetMs(), dead.forMs, dead.count, endedIds.forMs, endedIds.count, DEAD_A_CALL],
    ) as Promise<number>;

  return {
    async forgetEnded(signal) {
      let forgotten = 0;
      for (const prefix of [keys.outboxDead(''), keys.outboxEnded('')]) {
        let cursor = '0';
        do {
          const [next, found] = await redis.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', KEYS_A_STEP);
          cursor = next;
          for (const key of found) {
            for (let count = DEAD_A_CALL; count === DEAD_A_CALL && !signal.aborted; forgotten += count)
              count = await forget(key.slice(prefix.length));
          }
        } while (cursor !== '0' && !signal.aborted);
      }
      return forgotten;
    },
  };
}
