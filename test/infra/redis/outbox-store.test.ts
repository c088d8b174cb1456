import { describe, expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { giveBack, poll, queued, raw, S, storeFixture, verbsOf } from './outbox-fixture.ts';

const f = storeFixture();
const { ack, claim, enqueue } = verbsOf(f);

describe('enqueue', () => {
  test('keeps the order, and the lists of the contract', async () => {
    expect(await enqueue('a', 'b')).toEqual({ queued: 2, duplicates: [false, false], servable: true });
    await enqueue('c');
    expect(await f.redis.lrange('session:outbox:s1', 0, -1)).toEqual([raw('c'), raw('b'), raw('a')]);
    expect(await f.redis.smembers(keys.outboxActive)).toEqual([S]);
    expect(await f.ledger()).toEqual(['queued a b', 'queued c']);
  });

  test('passes over what is queued, in flight, dead or ended', async () => {
    await enqueue('a');
    expect((await enqueue('a', 'b', 'b')).duplicates).toEqual([true, false, true]);
    await claim();
    expect((await enqueue('a')).duplicates).toEqual([true]);
    await f.store.nack(giveBack(raw('a'), { permanent: true }));
    expect((await enqueue('a')).duplicates).toEqual([true]);
    await claim();
    await ack('b');
    expect(await enqueue('b')).toEqual({ queued: 0, duplicates: [true], servable: false });
  });

  test('takes many in one call, in order', async () => {
    const ids = Array.from({ length: 1234 }, (_, index) => `t${index}`);
    expect((await enqueue(...ids)).queued).toBe(1234);
    expect(await f.queue()).toEqual(ids.map((id) => raw(id)));
  });

  test('says that nobody can be served while something is in flight', async () => {
    await enqueue('a');
    await claim();
    expect((await enqueue('b')).servable).toBe(false);
  });
});

describe('claim', () => {
  test('hands out one at a time, in order', async () => {
    await enqueue('a', 'b');
    expect(await f.store.claim(poll())).toMatchObject({
      kind: 'tasks',
      leaseMs: 60_000,
      repeated: false,
      tasks: [{ raw: raw('a'), attempt: 1 }],
    });
    expect(await f.redis.lrange('session:outbox:processing:s1', 0, -1)).toEqual([raw('a')]);
    expect(await f.store.claim(poll())).toMatchObject({ kind: 'held', forMs: expect.closeTo(60_000, -3) });
    await ack('a');
    expect(await claim()).toBe('b1');
    await ack('b');
    expect(await claim()).toBe('empty');
    expect(await f.redis.smembers(keys.outboxActive)).toEqual([]);
  });

  test('repeats its answer for the same request, and burns no attempt', async () => {
    await enqueue('a', 'b');
    const first = await f.store.claim(poll({ requestId: 'r1', epoch: 5 }));
    const again = await f.store.claim(poll({ requestId: 'r1', epoch: 5 }));
    expect(again).toMatchObject({ repeated: true, tasks: [{ raw: raw('a'), attempt: 1 }] });
    expect((again as { claimId: string }).claimId).toBe((first as { claimId: string }).claimId);
    expect(await claim({ requestId: 'r2', epoch: 5 })).toBe('held');
  });

  test('serves again, and first, what ran out', async () => {
    await enqueue('a', 'b');
    await claim({ requestId: 'r1' });
    f.jump(59_000);
    expect(await claim()).toBe('held');
    f.jump(1_000);
    expect(await claim({ requestId: 'r1' })).toBe('a2');
  });

  test('an image has ten minutes', async () => {
    await f.store.enqueue(S, [queued('a', { mode: 'image', mediaRef: 'x.jpg' })]);
    expect(await f.store.claim(poll())).toMatchObject({ leaseMs: 600_000 });
    f.jump(599_000);
    expect(await claim()).toBe('held');
    f.jump(1_000);
    expect(await claim()).toBe('a2');
  });

  test('a newer owner gets at once what the old one held; the old one gets nothing', async () => {
    await enqueue('a', 'b');
    const first = await f.store.takeOwnership(S);
    expect(await claim({ epoch: first })).toBe('a1');
    const second = await f.store.takeOwnership(S);
    expect(second).toBeGreaterThan(first);
    expect(await claim({ epoch: first })).toBe('stale');
    expect(await claim({ epoch: second })).toBe('a2');
  });

  test('an owner that Redis has forgotten is known again by its token', async () => {
    await enqueue('a');
    expect(await claim({ epoch: 7 })).toBe('a1');
    expect(await claim({ epoch: 6 })).toBe('stale');
    expect(await f.store.epoch(S)).toBe(7);
  });

  test('serves what stands in flight without a lease', async () => {
    await f.redis.lpush(keys.outboxProcessing(S), raw('x'), raw('y'));
    await enqueue('a');
    expect(await claim({ max: 10 })).toBe('x1 y1 a1');
  });

  test('a batch is one lease: nothing else until it has ended or run out', async () => {
    await enqueue('a', 'b', 'c', 'd');
    expect(await claim({ max: 3 })).toBe('a1 b1 c1');
    await ack('a', 'b');
    expect(await claim({ max: 3 })).toBe('held');
    f.jump(60_000);
    expect(await claim({ max: 3 })).toBe('c2 d1');
  });

  test('a batch with an image has the time of an image', async () => {
    await f.store.enqueue(S, [queued('a'), queued('b', { mode: 'image', mediaRef: 'x.jpg' })]);
    expect(await f.store.claim(poll({ max: 2 }))).toMatchObject({ leaseMs: 600_000 });
  });

  test('what was handed out five times is dead, with a reason', async () => {
    await enqueue('a', 'b');
    for (let n = 1; n <= 5; n++) {
      expect(await claim()).toBe(`a${n}`);
      f.jump(60_000);
    }
    expect(await claim()).toBe('b1');
    expect(await f.store.dead(S, 0, 10)).toMatchObject([
      { raw: raw('a'), reason: 'delivery_limit', attempts: 5 },
    ]);
    expect(await f.ledger()).toContain('dead a');
  });

  test.each([
    ['2020-01-01T00:00:00.000Z', true],
    ['2020-02-29T23:59:59+05:30', true],
    ['2999-12-31T23:59:59Z', false],
    ['2999-12-31T23:59:59.5-03:00', false],
    ['whenever', false],
  ])('what expired at %s is dead: %s', async (expiresAt, expired) => {
    await f.store.enqueue(S, [queued('a', { expiresAt }), queued('b')]);
    expect(await claim({ max: 5 })).toBe(expired ? 'b1' : 'a1 b1');
    expect((await f.store.dead(S, 0, 10)).map(({ reason }) => reason)).toEqual(expired ? ['expired'] : []);
  });

  test('reads a time of its own exactly', async () => {
    const [seconds = 0, micros = 0] = (await f.redis.time()).map(Number);
    const now = seconds * 1000 + Math.floor(micros / 1000);
    await f.store.enqueue(S, [
      queued('a', { expiresAt: new Date(now + 20_000).toISOString() }),
      queued('b', { expiresAt: new Date(now - 50).toISOString() }),
      queued('c', { expiresAt: new Date(now + 30_000).toISOString() }),
    ]);
    f.jump(20_000);
    expect(await claim({ max: 5 })).toBe('c1');
    expect((await f.store.dead(S, 0, 9)).length).toBe(2);
  });

  test('many expired ones in a row do not keep the rest from being served', async () => {
    const old = Array.from({ length: 1100 }, (_, index) =>
      queued(`old${index}`, { expiresAt: '2020-01-01T00:00:00.000Z' }),
    );
    await f.store.enqueue(S, [...old, queued('a')]);
    expect(await claim()).toBe('a1');
    expect((await f.store.counts(S)).dead).toBe(1100);
  });

  test('serves what others push, whatever it is', async () => {
    await f.redis.lpush(keys.outbox(S), '{"taskId": "x", "to": "1"}', 'not json', '{"taskId":7}');
    for (const text of ['{"taskId": "x", "to": "1"}', 'not json', '{"taskId":7}']) {
      expect(await f.store.claim(poll())).toMatchObject({ tasks: [{ raw: text, attempt: 1 }] });
      expect(await f.store.ack(S, [{ raw: text, whatsappId: '' }])).toMatchObject({ ended: 1 });
    }
    const { entries } = await f.stream.read(10);
    expect(entries.map(({ type, taskIds, payload }) => [type, taskIds, payload])).toEqual([
      ['claimed', ['x'], '{"taskId": "x", "to": "1"}'],
      ['sent', ['x'], undefined],
    ]);
  });

  test('the same string twice is handed out twice, one after the other', async () => {
    await f.redis.lpush(keys.outbox(S), 'same', 'same', 'other');
    expect(await f.store.claim(poll({ max: 5 }))).toMatchObject({ tasks: [{ raw: 'same', attempt: 1 }] });
    await f.store.ack(S, [{ raw: 'same', whatsappId: '' }]);
    expect(await f.store.claim(poll({ max: 5 }))).toMatchObject({
      tasks: [
        { raw: 'same', attempt: 1 },
        { raw: 'other', attempt: 1 },
      ],
    });
  });
});

describe('Redis in trouble', () => {
  test('scripts are loaded again when the server has forgotten them', async () => {
    await enqueue('a');
    await f.redis.script('FLUSH');
    expect(await claim()).toBe('a1');
  });

  test('at the memory limit nothing is queued, and what is queued can still be sent', async () => {
    await enqueue('a', 'b');
    await claim();
    await f.redis.config('SET', 'maxmemory', '1mb');
    try {
      await expect(enqueue('c')).rejects.toThrow('OOM');
      await ack('a');
      expect(await claim()).toBe('b1');
      expect(await f.store.touch({ sessionId: S, epoch: 0, claimId: '', raws: [raw('b')] })).toMatchObject({
        lost: [],
      });
      expect(await f.store.nack(giveBack(raw('b')))).toBe('requeued');
    } finally {
      await f.redis.config('SET', 'maxmemory', '0');
    }
    expect((await enqueue('c')).duplicates).toEqual([false]);
  });
});
