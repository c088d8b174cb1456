import type { Redis } from 'ioredis';
import { conflict } from '../../kernel/errors.ts';
import type { RestorableBindings } from '../../services/allocation/binding-restoration.ts';
import { bindingOf } from './allocation-registry.ts';
import { inventoryKeys } from './inventory-keys.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

/** The bindings on a server that nobody else may change now. */
export function createRestorableBindings(options: {
  redis: Redis;
  scripts: ScriptRunner;
  sessionsPerProxy: number;
}): RestorableBindings {
  const { redis, scripts, sessionsPerProxy } = options;
  const run = async (args: (string | number)[]): Promise<void> => {
    const result = (await scripts.run(
      'restore-binding',
      [...inventoryKeys, keys.incarnation],
      args,
    )) as number;
    if (result < 0) throw conflict('restored_elsewhere', 'Another process has settled this server.');
  };
  return {
    async all() {
      const entries = Object.entries(await redis.hgetall(keys.bindings));
      return entries.map(([sessionId, raw]) => bindingOf(sessionId, raw));
    },
    put: ({ sessionId, phone, proxy, profile }, runId) =>
      run([sessionId, phone ?? '', proxy ?? '', profile ?? '', sessionsPerProxy, 'put', runId]),
    remove: (sessionId, runId) => run([sessionId, '', '', '', sessionsPerProxy, '', runId]),
    async recount() {
      const repairs = await scripts.run('reconcile-bindings', inventoryKeys, [sessionsPerProxy]);
      return (repairs as string[]).length / 2;
    },
  };
}
