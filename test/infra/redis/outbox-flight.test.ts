import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { giveBack, poll, queued, raw, S, storeFixture, verbsOf } from './outbox-fixture.ts';

const f = storeFixture();
const { ack, claim, enqueue } = verbsOf(f);

const fieldOf = (id: string): string => createHash('sha1').update(raw(id)).digest('hex');
const leases = (): Promise<Record<string, string>> => f.redis.hgetall(keys.outboxLeases(S));
const flight = (): Promise<(string | null)[]> => f.redis.hmget(keys.owner(S), 'claim', 'request', 'flight');

test('one lease stands for all that a claim hands out for the first time, and for nothing after the ack of all', async () => {
  await enqueue('a', 'b', 'c');
  expect(await claim({ max: 3, requestId: 'mine' })).toBe('a1 b1 c1');
  expect(await f.queue()).toEqual([]);
  expect(await f.processing()).toEqual([raw('a'), raw('b'), raw('c')]);
  expect(await leases()).toEqual({});
  expect(await flight()).not.toContain(null);
  expect(await ack('c', 'a', 'b')).toEqual({ ended: 3, queued: 0 });
  expect(await f.redis.exists(keys.outboxProcessing(S), keys.outboxTaskIds(S))).toBe(0);
  expect(await claim({ max: 3, requestId: 'mine' })).toBe('empty');
  expect(await f.redis.sismember(keys.outboxActive, S)).toBe(0);
  expect(await f.store.locate(S, raw('a'))).toMatchObject({ place: 'absent', leaseMs: 0, inFlight: 0 });
  const { entries } = await f.stream.read(10);
  expect(entries.filter(({ type }) => type === 'sent').map(({ attempts }) => attempts)).toEqual([1, 1, 1]);
});

test('an ack of as many tasks, but of others, leaves in their places what it does not name', async () => {
  await enqueue('a', 'b', 'c');
  expect(await claim({ max: 3 })).toBe('a1 b1 c1');
  await enqueue('d');
  expect(await ack('d', 'b', 'late')).toEqual({ ended: 2, queued: 0 });
  expect(await f.processing()).toEqual([raw('a'), raw('c')]);
  expect(Object.keys(await leases()).toSorted()).toEqual([fieldOf('a'), fieldOf('c')].toSorted());
  await ack('a', 'c');
  await enqueue('e', 'f');
  expect(await claim({ max: 2 })).toBe('e1 f1');
  await f.redis.lpush(keys.outboxProcessing(S), raw('by hand'), raw('by hand too'));
  expect(await ack('e', 'f')).toEqual({ ended: 2, queued: 0 });
  expect(await f.processing()).toEqual([raw('by hand'), raw('by hand too')]);
});

test('of a longer queue the rest stays, in order', async () => {
  await enqueue('a', 'b', 'c', 'd', 'e');
  expect(await claim({ max: 2 })).toBe('a1 b1');
  expect(await f.queue()).toEqual([raw('c'), raw('d'), raw('e')]);
  await ack('a', 'b');
  expect(await claim()).toBe('c1');
  await ack('c');
  expect(await claim({ max: 2 })).toBe('d1 e1');
});

test('is in force like one of each: held by others, the same again for the same request, over in time', async () => {
  await enqueue('a', 'b');
  const first = await f.store.claim(poll({ requestId: 'mine', max: 2 }));
  expect(await claim({ max: 2 })).toBe('held');
  const again = await f.store.claim(poll({ requestId: 'mine', max: 2 }));
  expect(again).toMatchObject({ repeated: true, claimId: first.kind === 'tasks' ? first.claimId : '' });
  f.jump(60_001);
  expect(await claim({ max: 2 })).toBe('a2 b2');
});

test('a batch with media is held as long as media are', async () => {
  await f.store.enqueue(S, [queued('a'), queued('b', { mode: 'image', mediaRef: 'x.jpg' })]);
  expect(await f.store.claim(poll({ max: 2 }))).toMatchObject({ leaseMs: 600_000 });
  f.jump(500_000);
  expect(await claim()).toBe('held');
});

test('a part that is acknowledged, given back or extended leaves the others their lease', async () => {
  await enqueue('a', 'b', 'c', 'd');
  await claim({ max: 4 });
  expect(await ack('b')).toEqual({ ended: 1, queued: 0 });
  expect(await flight()).toEqual([null, null, null]);
  expect(Object.keys(await leases()).toSorted()).toEqual(
    [fieldOf('a'), fieldOf('c'), fieldOf('d')].toSorted(),
  );
  expect(await f.store.nack(giveBack(raw('c')))).toBe('requeued');
  expect(await claim()).toBe('held');
  f.jump(59_000);
  const touched = await f.store.touch({ sessionId: S, epoch: 0, claimId: '', raws: [raw('d')] });
  expect(touched).toEqual({ kind: 'touched', leaseMs: 60_000, lost: [] });
  f.jump(1500);
  // The lease of `a` is over, that of `d` is not.
  expect(await claim()).toBe('held');
  f.jump(60_000);
  expect(await claim({ max: 9 })).toBe('a2 c2 d2');
});

test('what is given back first keeps its deliveries and its place, whoever else is in flight', async () => {
  await enqueue('a', 'b', 'c');
  const outcome = await f.store.claim(poll({ epoch: 7, max: 2 }));
  const claimId = outcome.kind === 'tasks' ? outcome.claimId : '';
  expect(await f.store.nack(giveBack(raw('b'), { epoch: 7, claimId: 'another' }))).toBe('not_current');
  expect(await f.store.nack(giveBack(raw('b'), { epoch: 7, claimId }))).toBe('requeued');
  expect(await f.store.nack(giveBack(raw('a'), { epoch: 7, claimId }))).toBe('requeued');
  expect(await claim({ epoch: 7, max: 9 })).toBe('a2 b2 c1');
});

test('what is extended first is held on', async () => {
  await enqueue('a', 'b');
  const outcome = await f.store.claim(poll({ max: 2 }));
  const claimId = outcome.kind === 'tasks' ? outcome.claimId : '';
  f.jump(59_000);
  const touched = await f.store.touch({ sessionId: S, epoch: 0, claimId, raws: [raw('a'), raw('b')] });
  expect(touched).toEqual({ kind: 'touched', leaseMs: 60_000, lost: [] });
  f.jump(59_000);
  expect(await claim()).toBe('held');
});

test('a claim whose client has gone goes back whole', async () => {
  await enqueue('a', 'b', 'c');
  const outcome = await f.store.claim(poll({ max: 2 }));
  expect(await f.store.unclaim(S, outcome.kind === 'tasks' ? outcome.claimId : '')).toBe(2);
  expect(await claim({ max: 9 })).toBe('a1 b1 c1');
});

test('what people ask of a task in flight is answered by it', async () => {
  await enqueue('a', 'b');
  await claim();
  expect(await f.store.locate(S, raw('a'))).toMatchObject({ place: 'processing', inFlight: 1 });
  expect((await f.store.locate(S, raw('b'))).leaseMs).toBeGreaterThan(59_000);
  expect(await claim()).toBe('held');
});

test('the same string twice is served one after the other', async () => {
  await f.redis.lpush(keys.outbox(S), raw('a'), raw('a'), raw('b'));
  expect(await claim({ max: 3 })).toBe('a1');
  await ack('a');
  expect(await claim({ max: 3 })).toBe('a1 b1');
  expect(await ack('b', 'a')).toEqual({ ended: 2, queued: 0 });
});

test('leases that an earlier version has written for each task are kept, and end as they did', async () => {
  await enqueue('a', 'b', 'c');
  const far = Date.now() + 3_600_000;
  await f.redis.lmove(keys.outbox(S), keys.outboxProcessing(S), 'RIGHT', 'LEFT');
  await f.redis.lmove(keys.outbox(S), keys.outboxProcessing(S), 'RIGHT', 'LEFT');
  await f.redis.hset(keys.outboxLeases(S), fieldOf('a'), `0|c_old.1|mine|${far}|3|1`);
  await f.redis.hset(keys.outboxLeases(S), fieldOf('b'), `0|c_old.1|mine|${far}|1|2`);
  await f.redis.hset(keys.owner(S), 'sequence', '2');
  expect(await claim()).toBe('held');
  expect(await claim({ requestId: 'mine' })).toBe('a3 b1');
  expect(await f.store.nack(giveBack(raw('a'), { claimId: 'c_old.1' }))).toBe('requeued');
  expect(await ack('b')).toEqual({ ended: 1, queued: 2 });
  expect(await claim({ max: 2 })).toBe('a4 c1');
  expect(await ack('a', 'c')).toEqual({ ended: 2, queued: 0 });
  expect(await f.redis.exists(keys.outboxLeases(S), keys.outboxTaskIds(S))).toBe(0);
});

test.each([
  ['{"parent":"a","taskId":"b"}', ['b']],
  ['{"taskId":"c d","to":"1"}', []],
  ['{"taskId":"\\u0065"}', ['e']],
  ['{"taskId":"a', []],
])(
  'what others have pushed may look like a task of ours, and only its own id ends: %s',
  async (text, ids) => {
    await f.redis.lpush(keys.outbox(S), text);
    await enqueue('a');
    const outcome = await f.store.claim(poll());
    expect(outcome.kind === 'tasks' && outcome.tasks).toEqual([{ raw: text, attempt: 1 }]);
    expect(await f.store.ack(S, [{ raw: text, whatsappId: '' }])).toEqual({ ended: 1, queued: 1 });
    expect(await f.redis.zrange(keys.outboxEnded(S), '0', '-1')).toEqual(ids);
    expect(await f.ledger()).toEqual(['queued a', ...ids.flatMap((id) => [`claimed ${id}`, `sent ${id}`])]);
    expect(await f.redis.smembers(keys.outboxTaskIds(S))).toEqual(['a']);
    expect(await claim()).toBe('a1');
    expect(await ack('a')).toEqual({ ended: 1, queued: 0 });
  },
);
