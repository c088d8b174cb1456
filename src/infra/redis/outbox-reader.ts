import type { Redis } from 'ioredis';
import { keys } from './keys.ts';

/** Looks into outboxes without touching them. One round trip for any number of sessions. */
export interface OutboxReader {
  /** Queued and in flight, per session. */
  depths(sessionIds: string[]): Promise<Map<string, number>>;
  /** Which of these the outbox holds, has in flight or has ended lately. */
  known(sessionId: string, taskIds: readonly string[]): Promise<Set<string>>;
}

export function createOutboxReader(redis: Redis): OutboxReader {
  return {
    async depths(sessionIds) {
      // Auto-pipelining makes one batch of these.
      const lengths = await Promise.all(
        sessionIds.map(async (id) => {
          const [queued, processing] = await Promise.all([
            redis.llen(keys.outbox(id)),
            redis.llen(keys.outboxProcessing(id)),
          ]);
          return queued + processing;
        }),
      );
      return new Map(sessionIds.map((id, index) => [id, lengths[index] ?? 0]));
    },

    async known(sessionId, taskIds) {
      if (taskIds.length === 0) return new Set();
      const [held, ended] = await Promise.all([
        redis.smismember(keys.outboxTaskIds(sessionId), ...taskIds),
        redis.zmscore(keys.outboxEnded(sessionId), ...taskIds),
      ]);
      return new Set(taskIds.filter((_, index) => held[index] === 1 || ended[index] != null));
    },
  };
}
