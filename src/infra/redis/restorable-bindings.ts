import type { Redis } from 'ioredis';
import { conflict } from '../../kernel/errors.ts';
import type { RestorableBindings } from '../../services/allocation/binding-restoration.ts';
import type { StickyApply } from '../../services/allocation/sticky-restoration.ts';
import type { MarkRestorationDeps } from '../../services/inventory/mark-restoration.ts';
import type { RestorablePools } from '../../services/inventory/pool-restoration.ts';
import { bindingOf } from './allocation-registry.ts';
import { inventoryKeys } from './inventory-keys.ts';
import { keys } from './keys.ts';
import type { ScriptRunner } from './scripts.ts';

const STEP = 500;

/** The bindings on a server that nobody else may change now. */
export function createRestorableBindings(options: {
  redis: Redis;
  scripts: ScriptRunner;
  sessionsPerProxy: number;
}): RestorableBindings & { mark: MarkRestorationDeps['apply']; pools: RestorablePools; sticky: StickyApply } {
  const { redis, scripts, sessionsPerProxy } = options;
  const run = async (args: (string | number)[]): Promise<void> => {
    const result = (await scripts.run(
      'restore-binding',
      [...inventoryKeys, keys.incarnation],
      args,
    )) as number;
    if (result < 0) throw settledElsewhere();
  };
  return {
    async all() {
      const entries = Object.entries(await redis.hgetall(keys.bindings));
      return entries.map(([sessionId, raw]) => bindingOf(sessionId, raw));
    },
    put: ({ sessionId, phone, proxy, profile }, runId) =>
      run([sessionId, phone ?? '', proxy ?? '', profile ?? '', sessionsPerProxy, 'put', runId]),
    remove: (sessionId, runId) => run([sessionId, '', '', '', sessionsPerProxy, '', runId]),
    async mark({ line, mark, error }, runId) {
      const told = error === null ? '' : JSON.stringify(error);
      const result = (await scripts.run(
        'restore-mark',
        [...inventoryKeys, keys.incarnation],
        [line, mark, told, sessionsPerProxy, runId],
      )) as number;
      if (result === -1) throw settledElsewhere();
      return result === -2 ? 'gone' : result === 1 ? 'changed' : 'same';
    },
    async sticky(proxies, runId) {
      let changed = 0;
      const pairs = [...proxies];
      for (let at = 0; at < pairs.length; at += STEP) {
        const result = (await scripts.run(
          'restore-sticky',
          [...inventoryKeys, keys.incarnation],
          [runId, ...pairs.slice(at, at + STEP).flat()],
        )) as number;
        if (result < 0) throw settledElsewhere();
        changed += result;
      }
      return changed;
    },
    pools: {
      pieces: async () => new Set((await redis.smembers(keys.poolPieces)).map(Number)),
      async apply({ id, kind, content, held, kept }, runId) {
        const result = (await scripts.run(
          'restore-piece',
          [...inventoryKeys, keys.poolPieces, keys.incarnation],
          [
            kind,
            sessionsPerProxy,
            runId,
            id,
            content,
            JSON.stringify(held),
            JSON.stringify(Object.fromEntries(kept)),
          ],
        )) as number;
        if (result < 0) throw settledElsewhere();
        return result;
      },
    },
    async recount() {
      const repairs = await scripts.run('reconcile-bindings', inventoryKeys, [sessionsPerProxy]);
      return (repairs as string[]).length / 2;
    },
  };
}

const settledElsewhere = () => conflict('restored_elsewhere', 'Another process has settled this server.');
