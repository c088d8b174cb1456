import type { Redis } from 'ioredis';
import type { Clock } from '../../kernel/clock.ts';
import type { InboundSeen } from '../../services/sessions/ports.ts';
import { keys } from './keys.ts';

const REMEMBERED = 2000;
const REMEMBERED_SECONDS = 7 * 86_400;

/** The last inbound messages of each session; a repetition comes soon after the first or never. */
export const createInboundSeen = (redis: Redis, clock: Clock): InboundSeen => ({
  async has(sessionId, messageId) {
    return (await redis.zscore(keys.inboundSeen(sessionId), messageId)) !== null;
  },
  async add(sessionId, messageId) {
    const key = keys.inboundSeen(sessionId);
    await redis
      .multi()
      .zadd(key, clock.nowMs(), messageId)
      .zremrangebyrank(key, 0, -REMEMBERED - 1)
      .expire(key, REMEMBERED_SECONDS)
      .exec();
  },
});
