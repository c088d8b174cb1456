import { describe, expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { giveBack, poll, raw, S, storeFixture, verbsOf } from './outbox-fixture.ts';

const f = storeFixture();
const { ack, claim, enqueue } = verbsOf(f);

describe('ack', () => {
  test('ends a task once, however often it is said', async () => {
    await enqueue('a');
    await claim();
    expect(await ack('a')).toEqual({ ended: 1, queued: 0 });
    expect(await ack('a', 'nobody')).toEqual({ ended: 0, queued: 0 });
    expect(await f.ledger()).toEqual(['queued a', 'claimed a', 'sent a']);
    expect(await f.redis.exists(keys.outboxLeases(S), keys.outboxTaskIds(S), keys.outboxProcessing(S))).toBe(
      0,
    );
  });

  test('counts late: from the queue, from the dead list', async () => {
    await enqueue('a', 'b');
    await claim();
    await f.store.nack(giveBack(raw('a')));
    expect(await ack('a')).toEqual({ ended: 1, queued: 1 });
    await claim();
    await f.store.nack(giveBack(raw('b'), { permanent: true }));
    expect(await ack('b')).toEqual({ ended: 1, queued: 0 });
    expect((await f.store.counts(S)).dead).toBe(0);
    expect((await f.ledger()).filter((entry) => entry.startsWith('sent'))).toEqual(['sent a', 'sent b']);
  });

  test('of an owner that has been replaced counts, and its task is not served again', async () => {
    await enqueue('a', 'b');
    await claim({ epoch: await f.store.takeOwnership(S) });
    const epoch = await f.store.takeOwnership(S);
    await ack('a');
    expect(await claim({ epoch })).toBe('b1');
  });

  test('carries the WhatsApp id along', async () => {
    await enqueue('a');
    await claim();
    await f.store.ack(S, [{ raw: raw('a'), whatsappId: '3EB0AA' }]);
    const { entries } = await f.stream.read(10);
    expect(entries.at(-1)).toMatchObject({ type: 'sent', taskIds: ['a'], whatsappId: '3EB0AA', attempts: 1 });
  });

  test('keeps ended ids for a day, and not more than a thousand, the newest', async () => {
    const ids = Array.from({ length: 1010 }, (_, index) => `t${index}`);
    await enqueue(...ids);
    for (let at = 0; at < ids.length; at += 100) {
      await claim({ max: 100 });
      await ack(...ids.slice(at, at + 100));
      f.jump(1);
    }
    const kept = await f.redis.zrange(keys.outboxEnded(S), '0', '-1');
    expect(kept.length).toBeLessThanOrEqual(1000);
    expect(kept).toEqual(expect.arrayContaining(ids.slice(-910))); // those of the last ten acks
    f.jump(25 * 3_600_000);
    const later = Array.from({ length: 70 }, (_, index) => `later${index}`);
    for (const id of later) {
      await enqueue(id);
      await claim();
      await ack(id);
      f.jump(1);
    }
    expect(await f.redis.zrange(keys.outboxEnded(S), '0', '-1')).toEqual(later);
  });
});

describe('nack', () => {
  test('gives back to the claim end, once', async () => {
    await enqueue('a', 'b');
    await claim();
    expect(await f.store.nack(giveBack(raw('a')))).toBe('requeued');
    expect(await f.store.nack(giveBack(raw('a')))).toBe('not_current');
    expect(await f.queue()).toEqual([raw('a'), raw('b')]);
    expect(await claim()).toBe('a2');
  });

  test('keeps the order when several of a batch come back in any order', async () => {
    await enqueue('a', 'b', 'c', 'd', 'e');
    await claim({ max: 4 });
    await ack('b');
    for (const id of ['c', 'a', 'd']) await f.store.nack(giveBack(raw(id)));
    expect(await claim({ max: 9 })).toBe('a2 c2 d2 e1');
  });

  test('what ran out does not overtake what was given back before', async () => {
    await enqueue('a', 'b', 'c');
    await claim({ max: 2 });
    await f.store.nack(giveBack(raw('a')));
    f.jump(60_000);
    expect(await claim({ max: 9 })).toBe('a2 b2 c1');
  });

  test('with a delay makes the whole line wait', async () => {
    await enqueue('a', 'b');
    await claim();
    await f.store.nack(giveBack(raw('a'), { delayMs: 5000 }));
    expect(await f.store.claim(poll())).toMatchObject({ kind: 'delayed', forMs: expect.closeTo(5000, -3) });
    expect((await f.store.counts(S)).delayedForMs).toBeGreaterThan(4000);
    f.jump(5000);
    expect(await claim()).toBe('a2');
  });

  test('for good puts it on the dead list with the reason', async () => {
    await enqueue('a');
    await claim();
    const nack = giveBack(raw('a'), { permanent: true, reason: 'not on WhatsApp' });
    expect(await f.store.nack(nack)).toBe('dead');
    expect(await f.store.dead(S, 0, 9)).toMatchObject([
      { raw: raw('a'), reason: 'not on WhatsApp', attempts: 1 },
    ]);
    const { entries } = await f.stream.read(10);
    expect(entries.at(-1)).toMatchObject({ type: 'dead', taskIds: ['a'], reason: 'not on WhatsApp' });
  });

  test('the fifth in a row is the last', async () => {
    await enqueue('a');
    for (let n = 1; n <= 4; n++) {
      await claim();
      expect(await f.store.nack(giveBack(raw('a'), { reason: 'timeout' }))).toBe('requeued');
    }
    expect(await claim()).toBe('a5');
    expect(await f.store.nack(giveBack(raw('a'), { reason: 'timeout' }))).toBe('dead');
    expect((await f.store.dead(S, 0, 9))[0]?.reason).toBe('delivery_limit: timeout');
  });

  test("for the session's own trouble burns no attempt", async () => {
    await enqueue('a');
    for (let n = 1; n <= 8; n++) {
      expect(await claim()).toBe('a1');
      await f.store.nack(giveBack(raw('a'), { countAttempt: false }));
    }
  });

  test('of an old owner, of nobody, or of an older claim changes nothing', async () => {
    await enqueue('a');
    const old = await f.store.takeOwnership(S);
    await claim({ epoch: old });
    const epoch = await f.store.takeOwnership(S);
    expect(await f.store.nack(giveBack(raw('a'), { epoch: old }))).toBe('stale');
    expect(await f.store.nack(giveBack(raw('a'), { epoch }))).toBe('not_current');
    const claimed = await f.store.claim(poll({ epoch }));
    expect(await f.store.nack(giveBack(raw('a'), { epoch, claimId: 'another' }))).toBe('not_current');
    expect(await f.processing()).toEqual([raw('a')]);
    const claimId = claimed.kind === 'tasks' ? claimed.claimId : '';
    expect(await f.store.nack(giveBack(raw('a'), { epoch, claimId }))).toBe('requeued');
  });

  test('without an epoch is enough for a worker that has none', async () => {
    await f.redis.lpush(keys.outboxProcessing(S), raw('a'));
    expect(await f.store.nack(giveBack(raw('a')))).toBe('requeued');
    expect(await claim()).toBe('a2');
  });
});

describe('touch', () => {
  const touch = (ids: string[], epoch = 0, claimId = '') =>
    f.store.touch({ sessionId: S, epoch, claimId, raws: ids.map((id) => raw(id)) });

  test('extends the lease', async () => {
    await enqueue('a', 'b');
    await claim({ max: 2 });
    f.jump(50_000);
    expect(await touch(['a', 'b'])).toEqual({ kind: 'touched', leaseMs: 60_000, lost: [] });
    f.jump(50_000);
    expect(await claim()).toBe('held');
    f.jump(10_000);
    expect(await claim()).toBe('a2');
  });

  test('names what is lost, and extends the rest', async () => {
    await enqueue('a', 'b');
    await claim({ max: 2 });
    await ack('b');
    f.jump(30_000);
    expect(await touch(['a', 'b'])).toEqual({ kind: 'touched', leaseMs: 60_000, lost: [1] });
  });

  test('is not for others', async () => {
    await enqueue('a');
    const old = await f.store.takeOwnership(S);
    await claim({ epoch: old });
    expect(await touch(['a'], old, 'another claim')).toMatchObject({ lost: [0] });
    const epoch = await f.store.takeOwnership(S);
    expect(await touch(['a'], old)).toEqual({ kind: 'stale' });
    expect(await touch(['a'], epoch)).toMatchObject({ lost: [0] });
  });
});

describe('unclaim', () => {
  test('is as if it had never been handed out', async () => {
    await enqueue('a', 'b', 'c');
    const outcome = await f.store.claim(poll({ max: 2 }));
    expect(await f.store.unclaim(S, outcome.kind === 'tasks' ? outcome.claimId : '')).toBe(2);
    expect(await claim({ max: 3 })).toBe('a1 b1 c1');
  });

  test('leaves other claims alone', async () => {
    await enqueue('a');
    await claim();
    expect(await f.store.unclaim(S, 'another')).toBe(0);
    expect(await claim()).toBe('held');
  });
});
