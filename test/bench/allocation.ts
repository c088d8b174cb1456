import { Redis } from 'ioredis';
import { RedisBindingRegistry } from '../../src/infra/redis/allocation-registry.ts';
import { keys } from '../../src/infra/redis/keys.ts';
import { ScriptRunner } from '../../src/infra/redis/scripts.ts';
import { startRedis } from '../helpers/redis.ts';

export interface BenchRow {
  figure: string;
  value: number;
  unit: string;
  baseline?: string;
  ratio?: number;
}

const OPERATIONS = 20_000;
const AT_ONCE = 50;

/** Allocations a second from one process, on a small pool and on one of a million proxies, beside raw commands. */
export async function bench(report: (row: BenchRow) => void): Promise<void> {
  const server = await startRedis({ appendOnly: true });
  const redis = new Redis(server.url, { enableAutoPipelining: true });
  try {
    const caps = { sessionsPerProxy: 4, sessionsPerPhone: 4 };
    const registry = new RedisBindingRegistry({ redis, scripts: new ScriptRunner(redis), caps });
    const raw = await perSecond((n) => redis.hset('bench', `s${n % 1000}`, String(n)));
    report({ figure: 'HSET, one command each', value: raw, unit: '/s' });
    // The six writes of an allocation, as a client without a script would send them, unchecked.
    const writes = await perSecond((n) =>
      redis
        .multi()
        .hincrby('bench:proxy', `p${n % 1000}`, 1)
        .zincrby('bench:load', 1, `p${n % 1000}`)
        .hincrby('bench:phone', `n${n}`, 1)
        .hset('bench:sticky', `n${n}`, `p${n % 1000}`)
        .hset('bench:bindings', `s${n}`, `{"phone":"n${n}","proxy":"p${n % 1000}","profile":null}`)
        .exec(),
    );
    report({ figure: 'MULTI with the same five writes', value: writes, unit: '/s' });
    await redis.flushall();

    for (const pool of [10_000, 1_000_000]) {
      await fill(redis, pool);
      const label = `${pool.toLocaleString('en')} proxies`;
      const request = { profile: null, pinnedProxy: null, direct: false };
      const allocate = await perSecond((n) =>
        registry.allocate({ ...request, sessionId: `s${n}`, phone: `97250${1_000_000 + n}` }),
      );
      const baseline = 'MULTI with the same five writes';
      const ratio = allocate / writes;
      report({ figure: `allocate, ${label}`, value: allocate, unit: '/s', baseline, ratio });
      const release = await perSecond((n) => registry.release(`s${n}`, { keepProfile: false }));
      report({ figure: `release, ${label}`, value: release, unit: '/s', baseline, ratio: release / writes });
      await redis.flushall();
    }
  } finally {
    redis.disconnect();
    await server.stop();
  }
}

async function fill(redis: Redis, pool: number): Promise<void> {
  for (let from = 0; from < pool; from += 10_000) {
    const lines = Array.from(
      { length: Math.min(10_000, pool - from) },
      (_, n) => `http://u:p@10.0.0.1:${from + n}`,
    );
    await Promise.all([
      redis.sadd(keys.proxiesAll, ...lines),
      redis.sadd(keys.proxiesAvailable, ...lines),
      redis.zadd(keys.proxiesByLoad, ...lines.flatMap((line) => ['0', line])),
    ]);
  }
}

async function perSecond(operation: (n: number) => Promise<unknown>): Promise<number> {
  const started = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < OPERATIONS) await operation(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return Math.round((OPERATIONS * 1000) / (performance.now() - started));
}
