import type { Redis } from 'ioredis';

/** Another text after each start of the Redis server that is talked to. */
export async function redisIncarnation(redis: Redis): Promise<string> {
  const info = await redis.info('server');
  const runId = /^run_id:(\S+)/m.exec(info)?.[1];
  if (!runId) throw new Error('Redis does not tell its run id');
  return runId;
}
