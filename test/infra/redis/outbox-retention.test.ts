import { describe, expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { createOutboxRetention } from '../../../src/infra/redis/outbox-retention.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { giveBack, poll, queued, raw, S, storeFixture } from './outbox-fixture.ts';

const f = storeFixture();
const HOUR_MS = 3_600_000;
const always = new AbortController().signal;

const retention = (given: { dead?: number; ended?: number; deadForMs?: number; passedMs?: number } = {}) =>
  createOutboxRetention({
    redis: f.redis,
    scripts: new ScriptRunner(f.redis),
    dead: { forMs: given.deadForMs ?? 24 * HOUR_MS, count: given.dead ?? 1000 },
    endedIds: { forMs: 2 * HOUR_MS, count: given.ended ?? 1000 },
    timeOffsetMs: () => given.passedMs ?? 0,
  });
const numbered = (count: number, prefix = 't'): string[] =>
  Array.from({ length: count }, (_, each) => `${prefix}${String(each).padStart(4, '0')}`);
const kill = async (ids: readonly string[]) => {
  await f.store.enqueue(
    S,
    ids.map((id) => queued(id)),
  );
  for (const [index, id] of ids.entries()) {
    if (index % 100 === 0) await f.store.claim(poll({ max: 100 }));
    await f.store.nack(giveBack(raw(id), { permanent: true, reason: 'not on WhatsApp' }));
  }
};
/** Newest first. */
const dead = async (): Promise<string[]> =>
  (await f.store.dead(S, 0, 9999)).map(({ raw: text }) => (JSON.parse(text) as { taskId: string }).taskId);

describe('dead tasks', () => {
  test('no more than so many stay, the newest, however many there were', async () => {
    const ids = numbered(1203);
    await kill(ids);
    expect(await retention({ dead: 3 }).forgetEnded(always)).toBe(1200);
    expect(await dead()).toEqual(ids.slice(-3).reverse());
    expect(await f.redis.scard(keys.outboxTaskIds(S))).toBe(3);
    // Nothing to do is nothing done.
    expect(await retention({ dead: 3 }).forgetEnded(always)).toBe(0);
    expect(await f.store.revive(S, 'replay', null)).toBe(3);
  });

  test('none stays for longer than it may, and the list goes with the last', async () => {
    await kill(['a', 'b']);
    expect(await retention({ passedMs: 23 * HOUR_MS }).forgetEnded(always)).toBe(0);
    expect(await dead()).toEqual(['b', 'a']);
    expect(await retention({ passedMs: 25 * HOUR_MS }).forgetEnded(always)).toBe(2);
    const left = await f.redis.exists(keys.outboxDead(S), keys.outboxTaskIds(S), keys.outboxLeases(S));
    expect(left).toBe(0);
  });

  test('what has left the list is still recognised for a while, and then by the database', async () => {
    await kill(['a', 'b']);
    await retention({ dead: 1 }).forgetEnded(always);
    expect((await f.store.enqueue(S, [queued('a'), queued('b')])).duplicates).toEqual([true, true]);
    await retention({ dead: 1, passedMs: 3 * HOUR_MS }).forgetEnded(always);
    expect((await f.store.enqueue(S, [queued('a'), queued('b')])).duplicates).toEqual([false, true]);
  });

  test('what somebody else put there goes when its turn comes', async () => {
    await kill(['a']);
    await f.redis.rpush(keys.outboxDead(S), 'x', '[]', '{"raw":7}');
    expect(await retention().forgetEnded(always)).toBe(3);
    expect(await dead()).toEqual(['a']);
  });
});

describe('ids of ended tasks', () => {
  test('a session that sends nothing any more keeps none for good', async () => {
    await f.redis.zadd(keys.outboxEnded('silent'), Date.now() - 3 * HOUR_MS, 'old');
    await f.redis.zadd(keys.outboxEnded('silent2'), Date.now() - HOUR_MS, 'young');
    await retention().forgetEnded(always);
    expect(await f.redis.exists(keys.outboxEnded('silent'))).toBe(0);
    expect(await f.redis.zrange(keys.outboxEnded('silent2'), '0', '-1')).toEqual(['young']);
  });

  test('what a clear has ended is not kept beyond the number either', async () => {
    await f.store.enqueue(
      S,
      numbered(50).map((id) => queued(id)),
    );
    await f.store.clear(S, 'because');
    await retention({ ended: 20 }).forgetEnded(always);
    expect(await f.redis.zcard(keys.outboxEnded(S))).toBe(20);
  });
});
