import { afterEach, beforeEach, expect, test } from 'vitest';
import { canonicalRaw, type OutboxTask } from '../../../src/domain/task.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { systemClock, toIso } from '../../../src/kernel/clock.ts';
import { cutLog, logAtRest } from '../../helpers/redis-log.ts';
import { type LossHarness, startLoss } from './harness.ts';

// A log that was cut off in the middle of a script: Redis 7 leaves the half out when it loads the log, and carries it
// out at the start after that, together with what was written behind it.

let h: LossHarness;
beforeEach(async () => {
  h = await startLoss();
  expect(await h.restore()).toBe(true);
});
afterEach(() => h.stop());

const PROXY = 'http://u:p@10.0.0.1:8080';
const bind = async (sessionId: string): Promise<void> => {
  const result = await h.allocation.allocate({
    sessionId,
    phone: '972501234567',
    profile: null,
    pinnedProxy: null,
    direct: false,
  });
  expect(result.ok).toBe(true);
  await h.allocation.flush();
};
const task = (taskId: string): OutboxTask => ({ taskId, mode: 'message', to: '972501234567', text: taskId });
const queued = async (session: string): Promise<string[]> =>
  (await h.redis.lrange(keys.outbox(session), 0, -1))
    .map((raw) => (JSON.parse(raw) as OutboxTask).taskId)
    .toReversed();

/** The server is killed, and the last bytes of its log are lost. */
async function loseTail(bytes: number): Promise<void> {
  await h.server.kill();
  await cutLog(h.server, bytes);
  await restart();
}

async function restart(): Promise<void> {
  await h.server.kill();
  await h.server.restart();
  while (h.redis.status !== 'ready') await systemClock.sleep(20);
}

async function tell(id: string): Promise<void> {
  const at = toIso(Date.now());
  await h.database.db
    .insertInto('sessions')
    .values({
      id,
      phone: null,
      profile: null,
      tenant: null,
      provider: 'p',
      webhook_url: null,
      resources: null,
      desired: 'running',
      generation: 1,
      state: 'connected',
      reason: null,
      proxy: '10.0.0.1:8080',
      direct: 0,
      jid: null,
      epoch: 1,
      crashes: 0,
      not_before: null,
      logout: 0,
      created_at: at,
      updated_at: at,
      connected_at: null,
    })
    .execute();
}

test('half a script in the log is gone once the server is settled: nothing carries it out later', async () => {
  await h.redis.sadd(keys.proxiesAll, PROXY);
  await h.allocation.reconcile();
  await bind('s1');
  await tell('s1');
  await logAtRest(h.redis);
  await bind('s2');
  await loseTail(60);
  expect(await h.redis.hkeys(keys.bindings)).toEqual(['s1']);
  await h.restore();
  await bind('s2');
  await logAtRest(h.redis);
  await restart();
  expect(await h.redis.hgetall(keys.proxyActiveCount)).toEqual({ [PROXY]: '2' });
  expect(await h.redis.hgetall(keys.phoneActiveCount)).toEqual({ '972501234567': '2' });
});

test('counters that do not fit the bindings are put right before anybody allocates on them', async () => {
  await h.redis.sadd(keys.proxiesAll, PROXY);
  await h.allocation.reconcile();
  await bind('s1');
  await tell('s1');
  await restart();
  await h.redis.hincrby(keys.proxyActiveCount, PROXY, 1);
  await h.redis.hincrby(keys.phoneActiveCount, '972501234567', 1);
  await h.restore();
  expect(await h.redis.hgetall(keys.proxyActiveCount)).toEqual({ [PROXY]: '1' });
  expect(await h.redis.hgetall(keys.phoneActiveCount)).toEqual({ '972501234567': '1' });
  await bind('s2');
});

test('a task that stands in the queue twice, or in flight as well, stands there once', async () => {
  await h.outbox.enqueue('s1', [task('a'), task('b'), task('c')]);
  const poll = { sessionId: 's1', epoch: 0, requestId: null, max: 1, timeoutMs: 0 };
  await h.hub.claim(poll, new AbortController().signal);
  await h.hear();
  await restart();
  await h.redis.lpush(keys.outbox('s1'), canonicalRaw(task('b')), canonicalRaw(task('a')));
  await h.restore();
  expect(await queued('s1')).toEqual(['b', 'c']);
  expect(await h.redis.llen(keys.outboxProcessing('s1'))).toBe(1);
});
