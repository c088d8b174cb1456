import { afterEach, beforeEach, expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { type LossHarness, refuseRows, startLoss } from './harness.ts';

let h: LossHarness;
beforeEach(async () => {
  h = await startLoss();
  expect(await h.restore()).toBe(true);
});
afterEach(() => h.stop());

const proxy = (host: number): string => `http://u${host}:p@10.0.0.1:8080`;
const PHONE = '972501234567';
const MINUTE = 60_000;

const bind = (sessionId: string, phone: string | null, pinnedProxy: string) =>
  h.allocation.allocate({ sessionId, phone, profile: null, pinnedProxy, direct: false });
const sticky = () => h.redis.hget(keys.phoneStickyProxy, PHONE);
const loseAll = async (): Promise<void> => {
  await h.lose('all');
  await h.restore();
};

test('a phone without a session goes back to its proxy, also among several of one address', async () => {
  await h.redis.sadd(keys.proxiesAll, proxy(1), proxy(2), proxy(3));
  await h.allocation.reconcile();
  await bind('s1', PHONE, proxy(2));
  await h.allocation.release('s1', { keepProfile: false });
  await h.allocation.flush();
  await h.remember();
  await loseAll();
  expect(await sticky()).toBe(proxy(2));

  await bind('s2', PHONE, proxy(3));
  await h.allocation.release('s2', { keepProfile: false });
  await h.lose('since-remembered');
  await h.restore();
  expect(await sticky()).toBe(proxy(3));
});

test('so does a phone that was learned later; a proxy that is gone is not named again', async () => {
  await h.redis.sadd(keys.proxiesAll, proxy(1), proxy(2));
  await h.allocation.reconcile();
  await bind('s1', null, proxy(1));
  await h.allocation.assignPhone('s1', PHONE);
  await h.allocation.release('s1', { keepProfile: false });
  await loseAll();
  expect(await sticky()).toBe(proxy(1));
  await h.inventory.drain(proxy(1));
  await loseAll();
  expect(await sticky()).toBeNull();
});

test('lines that another program has put into the pools come back, but not what is no proxy', async () => {
  const unreadable = 'ftp://no-proxy';
  await h.redis.sadd(keys.proxiesAll, proxy(1), unreadable);
  await h.redis.sadd(keys.proxiesAvailable, proxy(2));
  await h.redis.sadd(keys.profilesAvailable, 'one', '{"id":"two"}');
  await h.allocation.reconcile();
  await h.allocation.reconcile();
  await loseAll();
  expect((await h.redis.smembers(keys.proxiesAll)).sort()).toEqual([proxy(1), proxy(2)]);
  expect((await h.redis.smembers(keys.proxiesAvailable)).sort()).toEqual([proxy(1), proxy(2)]);
  expect((await h.allocation.nextProfiles(9)).sort()).toEqual(['one', '{"id":"two"}']);
  expect(await h.inventory.findProfile('two')).toBe('{"id":"two"}');
});

test('they are kept once, and a drained one does not come back', async () => {
  const pieces = async () => await h.redis.scard(keys.poolPieces);
  await h.redis.sadd(keys.proxiesAll, proxy(1));
  await h.allocation.reconcile();
  const kept = await pieces();
  for (const session of ['s1', 's2']) await bind(session, null, proxy(1)); // its cap
  await h.allocation.reconcile();
  for (const session of ['s1', 's2']) await h.allocation.release(session, { keepProfile: false });
  await h.allocation.reconcile();
  expect([kept, await pieces()]).toEqual([1, 1]);
  await h.inventory.drain(proxy(1));
  await loseAll();
  expect(await h.redis.smembers(keys.proxiesAll)).toEqual([]);
});

const claim = async (): Promise<string | null> => {
  const poll = { sessionId: 's1', epoch: 0, requestId: null, max: 1, timeoutMs: 0 };
  return (await h.hub.claim(poll, new AbortController().signal))?.tasks[0]?.raw ?? null;
};
const nack = async (delayMs: number): Promise<void> => {
  const raw = String(await claim());
  const about = { sessionId: 's1', epoch: 0, claimId: '', permanent: false, reason: '', countAttempt: true };
  expect(await h.outbox.nack({ ...about, raw, delayMs })).toEqual({ requeued: true, dead: false });
};
const enqueue = () =>
  h.outbox.enqueue('s1', [{ taskId: 't', mode: 'message', to: '972501234567', text: 'x' }]);
const delayed = async (): Promise<number> => (await h.outbox.status('s1')).delayedForMs;

test('a delay that a worker has asked for goes on for as long as is left of it', async () => {
  await enqueue();
  await h.hear();
  await h.remember();
  await nack(10 * MINUTE);
  await h.hear();
  for (const what of ['all', 'since-remembered'] as const) {
    await h.lose(what);
    await h.restore();
    expect(await claim()).toBeNull();
    expect(await delayed()).toBeGreaterThan(9 * MINUTE);
    expect(await delayed()).toBeLessThanOrEqual(10 * MINUTE);
  }
});

test('one that is over, too short to matter, or of a queue that was cleared does not', async () => {
  await enqueue();
  await nack(2000);
  await loseAll();
  expect(await delayed()).toBe(0);
  await nack(10 * MINUTE);
  await h.database.db.updateTable('outbox_delays').set({ until: '2020-01-01T00:00:00.000Z' }).execute();
  await loseAll();
  expect(await delayed()).toBe(0);
  expect(await h.database.db.selectFrom('outbox_delays').selectAll().execute()).toEqual([]);
  await nack(10 * MINUTE);
  await h.outbox.clear('s1', 'test');
  await h.outbox.enqueue('s1', [{ taskId: 'u', mode: 'message', to: '972501234567', text: 'x' }]);
  await loseAll();
  expect(await delayed()).toBe(0);
});

test('a database that refuses the delay does not refuse the nack', async () => {
  await enqueue();
  await refuseRows(h.database, 'outbox_delays');
  await nack(10 * MINUTE);
  expect(await delayed()).toBeGreaterThan(9 * MINUTE);
});
