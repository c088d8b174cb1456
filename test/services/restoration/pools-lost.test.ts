import { afterEach, beforeEach, expect, test } from 'vitest';
import { keys } from '../../../src/infra/redis/keys.ts';
import { toIso } from '../../../src/kernel/clock.ts';
import { type LossHarness, refuseRows, sessionRow, startLoss } from './harness.ts';

let h: LossHarness;
beforeEach(async () => {
  h = await startLoss();
  expect(await h.restore()).toBe(true);
});
afterEach(() => h.stop());

const upload = async (kind: 'profiles' | 'proxies', ...lines: string[]) => {
  const source = (async function* () {
    yield Buffer.from(lines.join('\n'));
  })();
  return await h.inventory.commit(await h.inventory.stage(kind, source));
};
const pieces = async () => (await h.database.db.selectFrom('pool_pieces').select('id').execute()).length;
const pools = async () => ({
  available: (await h.redis.smembers(keys.profilesAvailable)).toSorted(),
  used: (await h.redis.smembers(keys.profilesUsed)).toSorted(),
  held: (await h.redis.smembers(keys.profilesHeld)).toSorted(),
  kept: await h.redis.hgetall(keys.profilesKept),
  order: await h.redis.zrange(keys.profilesOrder, '0', '-1'),
  index: await h.redis.hgetall(keys.profileIndex),
  proxies: (await h.redis.smembers(keys.proxiesAll)).toSorted(),
  free: (await h.redis.smembers(keys.proxiesAvailable)).toSorted(),
  draining: await h.redis.smembers(keys.proxiesDraining),
  capacity: await h.allocation.capacity(),
});
const proxy = (host: number) => `http://u:p@10.0.0.${host}:8080`;
const bind = async (sessionId: string, profile: string | null, pinnedProxy: string | null = null) => {
  const request = { sessionId, phone: null, profile, pinnedProxy, direct: false };
  const result = await h.allocation.allocate(request);
  if (!result.ok) throw new Error(result.code);
  const address = result.binding.proxy?.slice('http://u:p@'.length) ?? null;
  await h.database.db
    .insertInto('sessions')
    .values(sessionRow(sessionId, 1, address, toIso(0)))
    .execute();
};
const leave = async (sessionId: string, keepProfile: boolean) => {
  await h.allocation.release(sessionId, { keepProfile, holdProfile: !keepProfile });
  if (keepProfile)
    await h.database.db.updateTable('sessions').set({ proxy: null }).where('id', '=', sessionId).execute();
  else await h.database.db.deleteFrom('sessions').where('id', '=', sessionId).execute();
};

test('an empty Redis: the pools come back, in order, with what was taken, kept and put aside', async () => {
  await upload('profiles', 'one', 'two', '{"id":"three"}', 'four', 'five');
  await upload('proxies', proxy(1), proxy(2), proxy(3));
  await bind('runs', 'one');
  await bind('stopped', 'two');
  await bind('deleted', 'four');
  await leave('stopped', true);
  await leave('deleted', false);
  await h.allocation.flush();
  const before = await pools();
  expect(before).toMatchObject({ held: ['four'], kept: { stopped: 'two' }, used: ['one', 'two'] });

  await h.lose('all');
  expect(await h.redis.scard(keys.proxiesAll)).toBe(0);
  await h.restore();
  expect(await pools()).toEqual(before);
  expect(await h.allocation.nextProfiles(9)).toEqual(['{"id":"three"}', 'five']);
});

test('what was removed stays away, what was wanted again comes back, and what others did by hand stays', async () => {
  await upload('proxies', proxy(1), proxy(2), proxy(3), proxy(4));
  await bind('s1', null, proxy(3));
  await h.remember();
  await h.inventory.drain(proxy(1));
  await h.inventory.drain(proxy(2));
  await h.inventory.drain(proxy(3));
  await upload('proxies', proxy(2));
  await h.inventory.drain(proxy(4));
  await upload('proxies', proxy(5));
  await h.allocation.flush();
  const before = await pools();
  expect(before).toMatchObject({ proxies: [2, 3, 5].map(proxy), draining: [proxy(3)] });
  for (const what of ['since-remembered', 'all'] as const) {
    await h.lose(what);
    await h.restore();
    expect(await pools()).toEqual(before);
  }
  // A server that has kept everything is left as it is.
  await h.redis.sadd(keys.proxiesAll, proxy(1));
  await h.redis.srem(keys.proxiesAll, proxy(5));
  await h.remember();
  await h.lose('since-remembered');
  await h.restore();
  expect((await pools()).proxies).toEqual([1, 2, 3].map(proxy));
});

test('a profile that was put aside and uploaded again is offered again', async () => {
  await upload('profiles', 'again', 'aside');
  await upload('proxies', proxy(1));
  for (const profile of ['again', 'aside']) {
    await bind(`of-${profile}`, profile);
    await leave(`of-${profile}`, false);
  }
  await h.allocation.flush();
  expect(await upload('profiles', 'again')).toMatchObject({ added: 0, duplicates: 1 });
  await h.lose('all');
  await h.restore();
  expect(await h.allocation.nextProfiles(9)).toEqual(['again']);
  expect((await pools()).held).toEqual(['aside']);
});

test('a repeated upload does not make SQL grow, one that breaks off promises nothing', async () => {
  await upload('proxies', proxy(1), proxy(2));
  const kept = await pieces();
  expect(kept).toBe(1);
  expect(await upload('proxies', proxy(1), proxy(2))).toMatchObject({ added: 0, duplicates: 2 });
  expect(await pieces()).toBe(kept);
  expect(await h.redis.scard(keys.poolPieces)).toBe(kept);
  const broken = (async function* () {
    yield Buffer.from(`${Array.from({ length: 1200 }, (_, each) => proxy(each % 250)).join('\n')}\n`);
    throw new Error('the client has gone');
  })();
  await expect(h.inventory.stage('proxies', broken)).rejects.toThrow('the client has gone');
  expect(await pieces()).toBe(kept);
  await h.lose('all');
  await h.restore();
  expect((await pools()).proxies).toEqual([proxy(1), proxy(2)]);
});

test('pools from before SQL kept them are taken over at the start, once', async () => {
  await upload('profiles', 'one', '{"id":"two"}', 'three', 'aside');
  await upload('proxies', proxy(1), '10.0.0.2:8080');
  await bind('runs', 'three', proxy(1));
  await bind('deleted', 'aside', proxy(1));
  await leave('deleted', false);
  await h.allocation.flush();
  await h.database.db.deleteFrom('pool_pieces').execute();
  await h.database.db.deleteFrom('profile_holders').execute();
  await h.redis.del(keys.poolPieces);
  const before = await pools();
  await h.pools.start();
  const count = await pieces();
  await h.pools.start();
  expect(await pieces()).toBe(count);
  await h.lose('all');
  await h.restore();
  const { held: _, available, ...rest } = before;
  expect(await pools()).toMatchObject({
    ...rest,
    held: [],
    available: available.filter((p) => p !== 'aside'),
  });
});

test('a crash in the middle of an upload: what was promised is whole after a loss', async () => {
  const lines = Array.from({ length: 1500 }, (_, each) => `profile-${each}`);
  const source = (async function* () {
    yield Buffer.from(lines.join('\n'));
  })();
  const staged = await h.inventory.stage('profiles', source);
  await h.redis.ltrim(keys.uploadStaging('profiles', staged.id), 0, 0); // the rest has never been moved
  await h.inventory.commit(staged);
  expect(await h.redis.scard(keys.profilesAvailable)).toBeLessThan(1500);
  await h.lose('all');
  await h.restore();
  expect((await pools()).order).toEqual(lines);
});

test('pools that were filled before SQL kept them are kept as a whole, also if the first attempt is cut off', async () => {
  await upload('profiles', 'one', 'two');
  await upload('proxies', proxy(1), proxy(2));
  const before = await pools();
  await h.database.db.deleteFrom('pool_pieces').execute();
  // The second piece does not get there: what is there of the first is nothing yet.
  const takeAgain = await refuseRows(h.database, 'pool_pieces', "new.kind = 'profiles'");
  await h.pools.start();
  await takeAgain();
  await h.pools.start();
  await h.lose('all');
  await h.restore();
  expect(await pools()).toEqual(before);
});
