import { afterEach, beforeEach, expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { createOutboxRetention } from '../../../src/infra/redis/outbox-retention.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock, toIso } from '../../../src/kernel/clock.ts';
import { type LossHarness, startLoss } from './harness.ts';

let h: LossHarness;
beforeEach(async () => {
  h = await startLoss();
  expect(await h.restore()).toBe(true);
});
afterEach(() => h.stop());

const enqueue = (session: string, ...ids: string[]) =>
  h.outbox.enqueue(
    session,
    ids.map((taskId) => ({ taskId, mode: 'message' as const, to: '972501234567', text: taskId })),
  );
const claim = async (session: string) => {
  const poll = { sessionId: session, epoch: 0, requestId: null, max: 1, timeoutMs: 0 };
  const claimed = await h.hub.claim(poll, new AbortController().signal);
  return claimed?.tasks[0]?.raw ?? null;
};
const giveUp = async (session: string, reason: string): Promise<string> => {
  const raw = String(await claim(session));
  await h.outbox.nack({
    sessionId: session,
    epoch: 0,
    raw,
    claimId: '',
    delayMs: 0,
    permanent: true,
    reason,
    countAttempt: true,
  });
  return raw;
};
const idOf = (raw: string): string => (JSON.parse(raw) as { taskId: string }).taskId;
const dead = async (session: string) => (await h.outbox.dead(session, { cursor: null, limit: 50 })).tasks;

test('an empty Redis: dead lists come back as they were, and can be replayed', async () => {
  await enqueue('s1', 'a', 'b', 'c', 'd');
  await giveUp('s1', 'not on WhatsApp');
  await giveUp('s1', 'blocked');
  const late = await giveUp('s1', 'too late');
  await h.hear();
  const before = await dead('s1');
  expect(before.map(({ raw, reason }) => [idOf(raw), reason])).toEqual([
    ['c', 'too late'],
    ['b', 'blocked'],
    ['a', 'not on WhatsApp'],
  ]);
  await h.lose('all');
  await h.restore();
  expect(await dead('s1')).toEqual(before);
  expect((await enqueue('s1', 'a')).results).toEqual([{ taskId: 'a', duplicate: true }]);

  // It was sent after all: a late ack counts.
  await h.outbox.ack('s1', [{ raw: late, whatsappId: null }]);
  await h.hear();
  expect(await h.outbox.replayDead('s1', ['a'])).toBe(1);
  await h.hear();
  await h.lose('all');
  await h.restore();
  expect((await dead('s1')).map(({ raw }) => idOf(raw))).toEqual(['b']);
  expect(await h.redis.llen(keys.outbox('s1'))).toBe(2);
});

test('an older Redis: what died since is on the list, once; a server that kept all is left as it is', async () => {
  await enqueue('s1', 'a', 'b');
  await giveUp('s1', 'first');
  await h.hear();
  await h.remember();
  await giveUp('s1', 'second');
  await h.hear();
  const before = await dead('s1');
  for (const _ of [1, 2]) {
    await h.lose('since-remembered');
    await h.restore();
    expect(await dead('s1')).toEqual(before);
    await h.remember();
  }
});

test('what has left a list because there was too much of it stays away when Redis is started anew', async () => {
  await enqueue('s1', 'a', 'b', 'c');
  await giveUp('s1', 'first');
  await systemClock.sleep(5); // the list tells them apart by their milliseconds
  await giveUp('s1', 'second');
  await h.hear();
  const forever = { forMs: 86_400_000, count: 1 };
  const retention = createOutboxRetention({
    redis: h.redis,
    scripts: new ScriptRunner(h.redis),
    dead: forever,
    endedIds: { forMs: 0, count: 1 }, // so much later that nothing recognises it any more
  });
  expect(await retention.forgetEnded(new AbortController().signal)).toBe(1);
  await h.remember();
  await giveUp('s1', 'third');
  await h.hear();
  await h.lose('since-remembered');
  await h.restore();
  expect((await dead('s1')).map(({ raw }) => idOf(raw))).toEqual(['c', 'b']);
});

test('what failed before it came into an outbox is on no list; deleted sessions stay deleted', async () => {
  await enqueue('s1', 'a');
  await enqueue('gone', 'b');
  await giveUp('gone', 'no');
  await h.hear();
  await h.database.db
    .updateTable('tasks')
    .set({ state: 'failed', queued_at: null, reason: 'expired', ended_at: toIso(0) })
    .where('id', '=', 'a')
    .execute();
  await h.database.db
    .insertInto('events')
    .values({
      type: 'session.deleted',
      session_id: 'gone',
      job_id: null,
      data: '{}',
      created_at: toIso(Date.now()),
    })
    .execute();
  await h.lose('all');
  await h.restore();
  expect(await dead('s1')).toEqual([]);
  expect(await dead('gone')).toEqual([]);
  expect(await h.redis.zscore(keys.sessionsDeleted, 'gone')).not.toBeNull();
});
