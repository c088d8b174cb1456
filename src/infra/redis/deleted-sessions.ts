import type { Redis } from 'ioredis';
import type { Clock } from '../../kernel/clock.ts';
import type { DeletedSessions } from '../../services/sessions/ports.ts';
import { keys } from './keys.ts';

const REMEMBERED = 100_000;
/** Longer than any worker stays away that could still come back with an old epoch. */
const OWNER_KEPT_MS = 30 * 24 * 3_600_000;

export const createDeletedSessions = (redis: Redis, clock: Clock): DeletedSessions => ({
  async add(sessionId) {
    await redis
      .multi()
      .zadd(keys.sessionsDeleted, clock.nowMs(), sessionId)
      .zremrangebyrank(keys.sessionsDeleted, 0, -REMEMBERED - 1)
      .pexpire(keys.owner(sessionId), OWNER_KEPT_MS)
      .pexpire(keys.outboxEnded(sessionId), OWNER_KEPT_MS)
      .exec();
  },
  async has(sessionId) {
    return (await redis.zscore(keys.sessionsDeleted, sessionId)) !== null;
  },
  async since(ms) {
    const list = await redis.zrange(keys.sessionsDeleted, ms, '+inf', 'BYSCORE', 'WITHSCORES');
    const found = [];
    for (let at = 0; at + 1 < list.length; at += 2) {
      found.push({ sessionId: list[at] ?? '', atMs: Number(list[at + 1]) });
    }
    return found;
  },
});
