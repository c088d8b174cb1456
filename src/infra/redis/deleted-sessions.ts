import type { Redis } from 'ioredis';
import type { Clock } from '../../kernel/clock.ts';
import type { DeletedSessions } from '../../services/sessions/ports.ts';
import { keys } from './keys.ts';

const REMEMBERED = 100_000;

export const createDeletedSessions = (redis: Redis, clock: Clock): DeletedSessions => ({
  async add(sessionId) {
    await redis
      .multi()
      .zadd(keys.sessionsDeleted, clock.nowMs(), sessionId)
      .zremrangebyrank(keys.sessionsDeleted, 0, -REMEMBERED - 1)
      .exec();
  },
  async has(sessionId) {
    return (await redis.zscore(keys.sessionsDeleted, sessionId)) !== null;
  },
});
