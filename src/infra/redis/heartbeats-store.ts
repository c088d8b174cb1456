import type { Redis } from 'ioredis';
import type { Heartbeats } from '../../services/sessions/ports.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

/** Signs of life by the clock of Redis: those of two hosts are never compared. */
export function createHeartbeats({ redis, scripts }: { redis: Redis; scripts: ScriptRunner }): Heartbeats {
  return {
    async beat(sessionId) {
      return (await scripts.run('heartbeat-beat', [keys.heartbeats], [sessionId])) === 1;
    },
    async forget(sessionId) {
      await redis.zrem(keys.heartbeats, sessionId);
    },
    async ages() {
      const [time, beats] = await Promise.all([
        redis.time(),
        redis.zrange(keys.heartbeats, '0', '-1', 'WITHSCORES'),
      ]);
      const nowMs = Number(time[0]) * 1000 + Math.floor(Number(time[1]) / 1000);
      const ages = new Map<string, number>();
      for (let at = 0; at + 1 < beats.length; at += 2) {
        ages.set(beats[at] as string, Math.max(0, nowMs - Number(beats[at + 1])));
      }
      return ages;
    },
  };
}
