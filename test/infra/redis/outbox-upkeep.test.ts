import { describe, expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { giveBack, poll, queued, raw, S, storeFixture } from './outbox-fixture.ts';

const f = storeFixture();
const enqueue = (...ids: string[]) =>
  f.store.enqueue(
    S,
    ids.map((id) => queued(id)),
  );
const claimIds = async (max = 100): Promise<string[]> => {
  const outcome = await f.store.claim(poll({ max }));
  if (outcome.kind !== 'tasks') return [];
  return outcome.tasks.map(({ raw: text }) => (JSON.parse(text) as { taskId: string }).taskId);
};

describe('dead list', () => {
  const kill = async (...ids: string[]) => {
    await enqueue(...ids);
    await claimIds();
    for (const id of ids) await f.store.nack(giveBack(raw(id), { permanent: true, reason: `no ${id}` }));
  };

  test('is read newest first, in pages', async () => {
    await kill('a', 'b', 'c');
    expect((await f.store.dead(S, 0, 2)).map(({ reason }) => reason)).toEqual(['no c', 'no b']);
    expect((await f.store.dead(S, 2, 2)).map(({ reason }) => reason)).toEqual(['no a']);
  });

  test('replay queues as new, oldest first; all or those that are named', async () => {
    await kill('a', 'b', 'c');
    await enqueue('d');
    expect(await f.store.revive(S, 'replay', ['b', 'nobody'])).toBe(1);
    expect(await f.store.revive(S, 'replay', null)).toBe(2);
    expect(await claimIds()).toEqual(['d', 'b', 'a', 'c']);
    expect((await f.ledger()).filter((entry) => entry.startsWith('replayed'))).toEqual([
      'replayed b',
      'replayed a c',
    ]);
  });

  test('drop forgets, so that the id may come again', async () => {
    await kill('a', 'b');
    expect(await f.store.revive(S, 'drop', ['a'])).toBe(1);
    expect((await enqueue('a', 'b')).duplicates).toEqual([false, true]);
  });

  test('entries that make no sense are passed over', async () => {
    await kill('a');
    await f.redis.lpush(keys.outboxDead(S), 'x', '{}', '[1]');
    expect((await f.store.dead(S, 0, 9)).map(({ reason }) => reason)).toEqual(['no a']);
    expect(await f.store.revive(S, 'replay', null)).toBe(1);
    expect(await f.redis.exists(keys.outboxDead(S))).toBe(0);
  });
});

describe('withdraw and clear', () => {
  test('withdraw takes the queued tasks of one job out, and nothing else', async () => {
    const tasks = Array.from({ length: 1300 }, (_, index) =>
      queued(`t${index}`, { jobId: index % 3 === 0 ? 'j1' : 'j2' }),
    );
    await f.store.enqueue(S, tasks);
    await f.redis.lpush(keys.outbox(S), '{ "jobId": "j1", "x": 1 }', 'text with "jobId":"j1" in it');
    await claimIds(1);
    const taken = await f.store.withdraw(S, 'j1');
    const expected = tasks.filter(({ raw: text }) => text.includes('"j1"')).map(({ taskId }) => taskId);
    expect(taken).toEqual(expected.slice(1)); // the first is in flight
    expect(await f.queue()).toEqual([
      ...tasks.filter(({ raw: text }) => text.includes('"j2"')).map(({ raw: text }) => text),
      'text with "jobId":"j1" in it',
    ]);
    expect(await f.processing()).toEqual([tasks[0]?.raw]);
    // Not cancelled: the job may only be paused.
    expect((await f.store.enqueue(S, tasks.slice(3, 4))).duplicates).toEqual([false]);
    const { entries } = await f.stream.read(10_000);
    const withdrawn = entries.filter(({ type }) => type === 'withdrawn').flatMap(({ taskIds }) => taskIds);
    expect(withdrawn.toSorted()).toEqual(taken.toSorted());
  });

  test('clear cancels what is queued, and leaves what is in flight', async () => {
    const ids = Array.from({ length: 1200 }, (_, index) => `t${index}`);
    await enqueue(...ids);
    await claimIds(1);
    await f.store.nack(giveBack(raw('t0'), { delayMs: 60_000 }));
    f.jump(60_000);
    await claimIds(1);
    expect(await f.store.clear(S, 'because')).toBe(1199);
    expect(await f.store.counts(S)).toMatchObject({ queued: 0, processing: 1, delayedForMs: 0 });
    expect((await enqueue('t5')).duplicates).toEqual([true]);
    const { entries } = await f.stream.read(10_000);
    const cancelled = entries.filter(({ type }) => type === 'cancelled');
    expect(cancelled.flatMap(({ taskIds }) => taskIds)).toEqual(ids.slice(1));
    expect(cancelled[0]?.reason).toBe('because');
  });
});

describe('questions', () => {
  test('known: what is held or has ended lately', async () => {
    await enqueue('a', 'b');
    await claimIds(1);
    await f.store.ack(S, [{ raw: raw('a'), whatsappId: '' }]);
    expect(await f.store.known(S, ['a', 'b', 'c'])).toEqual(new Set(['a', 'b']));
  });

  test('depths count queued and in flight', async () => {
    await enqueue('a', 'b');
    await claimIds(1);
    const depths = await f.store.depths([S, 'other']);
    expect([...depths]).toEqual([
      [S, 2],
      ['other', 0],
    ]);
  });

  test('locate says where a task stands', async () => {
    await enqueue('a', 'b', 'c');
    expect(await f.store.locate(S, raw('c'))).toEqual({
      place: 'queue',
      ahead: 2,
      leaseMs: 0,
      delayedForMs: 0,
      askedMsAgo: null,
      inFlight: 0,
    });
    await claimIds(1);
    expect(await f.store.locate(S, raw('a'))).toMatchObject({ place: 'processing', inFlight: 1, ahead: 0 });
    expect(await f.store.locate(S, raw('c'))).toMatchObject({ place: 'queue', ahead: 1 });
    expect(await f.store.locate(S, 'nothing')).toMatchObject({ place: 'absent' });
  });

  test('ready finds what was pushed by hand, and what is in flight', async () => {
    await f.redis.lpush(keys.outbox('x'), 'y');
    await f.redis.lpush(keys.outboxProcessing('z'), 'y');
    expect(await f.store.ready(['a', 'x', 'b', 'z'])).toEqual(['x', 'z']);
  });
});
