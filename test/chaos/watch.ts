import type { Redis } from 'ioredis';
import { keys } from '../../src/infra/redis/keys.ts';
import type { Random } from './random.ts';
import type { Recorder } from './recorder.ts';

/** Looks at the caps in Redis until aborted. @returns what was above */
export async function watchCaps(
  admin: Redis,
  caps: { proxy: number; phone: number },
  everyMs: number,
  nowMs: () => number,
  signal: AbortSignal,
): Promise<string[]> {
  /** Each once, from when on. */
  const breaches = new Map<string, string>();
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
      const at = `at ${Math.round(nowMs())} ms`;
      const note = (what: string, count: number, cap: number) => {
        const breach = `${what}: ${count}`;
        if (count > cap && !breaches.has(breach)) breaches.set(breach, `${breach} ${at}`);
      };
      for (const [proxy, count] of Object.entries(proxies))
        note(`counter of ${proxy}`, Number(count), caps.proxy);
      for (const [phone, count] of Object.entries(phones))
        note(`counter of ${phone}`, Number(count), caps.phone);
      const bound = Map.groupBy(bindings, (raw) => (JSON.parse(raw) as { proxy: string | null }).proxy);
      for (const [proxy, all] of bound)
        if (proxy !== null) note(`bindings of ${proxy}`, all.length, caps.proxy);
    } catch {
      // Redis is down: there is nothing to look at.
    } finally {
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }
  return [...breaches.values()];
}

/** Does what a worker that was replaced would do, with its token. @returns what was not refused */
export async function probeStale(
  url: string,
  recorder: Recorder,
  random: Random,
  nowMs: () => number,
  signal: AbortSignal,
): Promise<string[]> {
  const accepted: string[] = [];
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const old = recorder.tokens.filter(
      ({ session, epoch }) => epoch < (recorder.workers.get(session)?.epoch ?? 0),
    );
    if (old.length === 0) continue;
    const { session, epoch, token } = random.pick(old);
    const [method, path, body] = random.pick([
      ['POST', 'outbox/claim?timeout=0', undefined],
      ['POST', 'outbox/nack', JSON.stringify({ raw: '{"taskId":"stale"}' })],
      ['PUT', 'auth', JSON.stringify({ sequence: 1_000_000, set: { creds: { epoch } } })],
    ] as const);
    try {
      const answer = await fetch(`${url}/api/worker/sessions/${session}/${path}`, {
        method,
        headers: { 'x-webhook-secret': token, 'content-type': 'application/json' },
        signal: AbortSignal.timeout(3000),
        ...(body === undefined ? {} : { body }),
      });
      await answer.text();
      if (answer.ok)
        accepted.push(`${method} ${path} of ${session} by epoch ${epoch} at ${Math.round(nowMs())} ms`);
    } catch {
      // No answer, no write.
    }
  }
  return accepted;
}
