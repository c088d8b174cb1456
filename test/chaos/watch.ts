import type { Redis } from 'ioredis';
import { keys } from '../../src/infra/redis/keys.ts';

export interface CapWatch {
  /** What was above. */
  breaches: string[];
  /** How often a server was looked at whose data anybody may use. */
  looks: number;
}

/** Looks at the caps in Redis until aborted. */
export async function watchCaps(
  admin: Redis,
  caps: { proxy: number; phone: number },
  everyMs: number,
  nowMs: () => number,
  signal: AbortSignal,
): Promise<CapWatch> {
  /** Each once, from when on. */
  const breaches = new Map<string, string>();
  let looks = 0;
  while (!signal.aborted) {
    try {
      const seen = await admin
        .multi()
        .hgetall(keys.proxyActiveCount)
        .hgetall(keys.phoneActiveCount)
        .hvals(keys.bindings)
        .get(keys.incarnation)
        .info('server')
        .exec();
      const [proxies, phones, bindings, settled, server] = (seen ?? []).map(([, value]) => value) as [
        Record<string, string>,
        Record<string, string>,
        string[],
        string | null,
        string,
      ];
      // A server that was started anew is refused by everybody until its data are put right.
      if (settled === null || !server.includes(`run_id:${settled}`)) continue;
      looks += 1;
      const at = `at ${Math.round(nowMs())} ms`;
      const note = (what: string, count: number, cap: number) => {
        const breach = `${what}: ${count}`;
        if (count > cap && !breaches.has(breach)) breaches.set(breach, `${breach} ${at}`);
      };
      for (const [proxy, count] of Object.entries(proxies))
        note(`counter of ${proxy}`, Number(count), caps.proxy);
      for (const [phone, count] of Object.entries(phones))
        note(`counter of ${phone}`, Number(count), caps.phone);
      const bound = bindings.map((raw) => JSON.parse(raw) as { proxy: string | null; phone: string | null });
      for (const [proxy, all] of Map.groupBy(bound, (each) => each.proxy))
        if (proxy !== null) note(`bindings of ${proxy}`, all.length, caps.proxy);
      for (const [phone, all] of Map.groupBy(bound, (each) => each.phone))
        if (phone !== null) note(`bindings of ${phone}`, all.length, caps.phone);
    } catch {
      // Redis is down: there is nothing to look at.
    } finally {
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }
  return { breaches: [...breaches.values()], looks };
}
