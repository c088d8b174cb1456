import type { Redis } from 'ioredis';
import type { ProfileDirectory } from '../../services/sessions/ports.ts';
import { keys } from './keys.ts';

/** Finds an uploaded profile by its line, or by the id inside its line. */
export const createProfileDirectory = (redis: Redis): ProfileDirectory => ({
  async resolve(lineOrId) {
    const [available, used, line] = await Promise.all([
      redis.sismember(keys.profilesAvailable, lineOrId),
      redis.sismember(keys.profilesUsed, lineOrId),
      redis.hget(keys.profileIndex, lineOrId),
    ]);
    return available === 1 || used === 1 ? lineOrId : line;
  },
});
