import type { Redis } from 'ioredis';
import type { VersionStore } from '../../services/web-version/web-version.ts';
import { keys } from './keys.ts';

export const createVersionStore = (redis: Redis): VersionStore => ({
  load: () => redis.get(keys.webVersion),
  save: async (version) => {
    await redis.set(keys.webVersion, version);
  },
});
