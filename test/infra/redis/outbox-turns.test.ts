import { expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { poll, queued, raw, storeFixture } from './outbox-fixture.ts';

const f = storeFixture();
const sessions = ['s1', 's2', 's3'];

test('one call of a script and one entry of the ledger serve all sessions of a turn', async () => {
  await Promise.all(sessions.map((id) => f.store.enqueue(id, [queued(`${id}a`), queued(`${id}b`)])));
  const claims = await Promise.all(
    sessions.map((sessionId) => f.store.claim(poll({ sessionId, max: 2, requestId: 'r' }))),
  );
  expect(claims.map((claim) => claim.kind === 'tasks' && claim.tasks.length)).toEqual([2, 2, 2]);
  await Promise.all(
    sessions.map((id) =>
      f.store.ack(id, [
        { raw: raw(`${id}a`), whatsappId: `3EB0${id}` },
        { raw: raw(`${id}b`), whatsappId: '' },
      ]),
    ),
  );
  const { entries, count } = await f.stream.read(100);
  expect(count).toBe(3);
  const words = entries.map(({ type, sessionId, taskIds, attempts, whatsappId }) =>
    [type, sessionId, ...taskIds, attempts, whatsappId].filter((word) => word !== undefined).join(' '),
  );
  expect(words).toEqual([
    'queued s1 s1a s1b',
    'queued s2 s2a s2b',
    'queued s3 s3a s3b',
    'claimed s1 s1a 1',
    'claimed s1 s1b 1',
    'claimed s2 s2a 1',
    'claimed s2 s2b 1',
    'claimed s3 s3a 1',
    'claimed s3 s3b 1',
    'sent s1 s1a 1 3EB0s1',
    'sent s1 s1b 1',
    'sent s2 s2a 1 3EB0s2',
    'sent s2 s2b 1',
    'sent s3 s3a 1 3EB0s3',
    'sent s3 s3b 1',
  ]);
});

test('the ledger is not told what it knows, and other sessions of the turn are named all the same', async () => {
  const [, enqueued] = await Promise.all([
    f.store.enqueue('s1', [queued('a')]),
    f.store.enqueue('s2', [queued('b'), queued('c')], true),
    f.store.enqueue('s3', [queued('d')]),
  ]);
  expect(enqueued).toEqual({ queued: 2, duplicates: [false, false], servable: true });
  expect(await f.store.enqueue('s2', [queued('b')])).toMatchObject({ duplicates: [true] });
  expect(await f.ledger()).toEqual(['queued a', 'queued d']);
});

test('what is wrong with one session is not the trouble of the others', async () => {
  await f.redis.set(keys.outbox('s2'), 'not a list');
  const enqueued = await Promise.allSettled(sessions.map((id) => f.store.enqueue(id, [queued('t')])));
  expect(enqueued.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(String((enqueued[1] as PromiseRejectedResult).reason)).toContain('WRONGTYPE');
  // Nothing of it stays behind: once the key is right again, the same task can be queued.
  await f.redis.del(keys.outbox('s2'));
  expect(await f.store.enqueue('s2', [queued('t')])).toEqual({
    queued: 1,
    duplicates: [false],
    servable: true,
  });

  await f.redis.set(keys.outboxLeases('s3'), 'not a hash');
  const claims = await Promise.allSettled(sessions.map((sessionId) => f.store.claim(poll({ sessionId }))));
  expect(claims.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
});

test('an ack goes before a claim that was asked for in the same turn', async () => {
  await f.store.enqueue('s1', [queued('a'), queued('b')]);
  await f.store.claim(poll({ sessionId: 's1' }));
  const claiming = f.store.claim(poll({ sessionId: 's1' }));
  const acking = f.store.ack('s1', [{ raw: raw('a'), whatsappId: '' }]);
  const claim = await claiming;
  expect(claim.kind === 'tasks' && claim.tasks[0]?.raw).toBe(raw('b'));
  expect(await acking).toEqual({ ended: 1, queued: 1 });
});

test('what many tasks of a session have in common is said once to the ledger', async () => {
  const ids = Array.from({ length: 20 }, (_, index) => `t${index}`);
  await f.store.enqueue(
    's1',
    ids.map((id) => queued(id)),
  );
  await f.store.claim(poll({ sessionId: 's1', max: 20 }));
  const acked = ids.map((id) => ({ raw: raw(id), whatsappId: '' }));
  expect(await f.store.ack('s1', acked)).toEqual({ ended: 20, queued: 0 });
  const { entries } = await f.stream.read(100);
  expect(entries.filter(({ type }) => type === 'sent')).toEqual([
    expect.objectContaining({ sessionId: 's1', taskIds: ids, attempts: 1 }),
  ]);
  expect(await f.store.ack('s1', acked)).toEqual({ ended: 0, queued: 0 });
  expect(await f.store.enqueue('s1', [queued('t7')])).toMatchObject({ duplicates: [true] });
});

test('of a request that takes several calls, each task is told whether it was passed over', async () => {
  await f.store.enqueue('s1', [queued('t3'), queued('t700')]);
  const ids = Array.from({ length: 1200 }, (_, index) => `t${index === 900 ? 899 : index}`);
  const { duplicates, queued: length } = await f.store.enqueue(
    's1',
    ids.map((id) => queued(id)),
  );
  expect(duplicates.flatMap((duplicate, index) => (duplicate ? [index] : []))).toEqual([3, 700, 900]);
  expect(duplicates).toHaveLength(1200);
  expect(length).toBe(1199);
});
