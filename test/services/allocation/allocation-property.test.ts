import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SqlBindingStore } from '../../../src/infra/database/binding-store.ts';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { inventoryKeys } from '../../../src/infra/redis/inventory-keys.ts';
import { RedisInventoryStore } from '../../../src/infra/redis/inventory-store.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { AllocationService } from '../../../src/services/allocation/allocation.ts';
import { commitUpload, stageUpload } from '../../../src/services/inventory/upload.ts';
import { unkeptPieces } from '../../helpers/unkept-pieces.ts';
import {
  checkInvariants,
  type InventoryHarness,
  proxyLine,
  seed,
  startInventory,
  wanting,
} from '../../infra/redis/inventory-harness.ts';
import { patient } from '../../patience.ts';

const PROXIES = [1, 2, 3].map(proxyLine);
const PHONES = ['972501111111', '972502222222'];
const PROFILES = ['p1', 'p2', '{"id":"p3"}', '{"id":"p4"}'];
const SESSIONS = Array.from({ length: 12 }, (_, n) => `s${n}`);

let inventory: InventoryHarness;
let database: Database;
beforeAll(async () => {
  inventory = await startInventory({ sessionsPerProxy: 2, sessionsPerPhone: 3 });
  database = await openDatabase({ sqlitePath: ':memory:' });
});
afterAll(async () => {
  await inventory.stop();
  await database.close();
});

const session = fc.constantFrom(...SESSIONS);
const proxy = fc.constantFrom(...PROXIES);
const phone = fc.constantFrom(...PHONES);
const profile = fc.constantFrom(...PROFILES);

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('allocate' as const),
      session,
      phone: fc.option(phone),
      profile: fc.option(profile),
      pinned: fc.option(proxy, { freq: 5 }),
      direct: fc.nat(9).map((n) => n === 0),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('release' as const),
      session,
      keepProfile: fc.boolean(),
      holdProfile: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('releaseProfile' as const), session, hold: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('assignPhone' as const), session, phone }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('markBad' as const), proxy }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('restore' as const), proxy }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('drain' as const), proxy }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('upload' as const), proxy }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('reconcile' as const) }) },
  // What SQL should have learned from now on is lost, as in a crash right after the script.
  { weight: 1, arbitrary: fc.record({ op: fc.constant('crash' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface World {
  allocation: AllocationService;
  sqlDown: boolean;
}

function newWorld(): World {
  const store = new SqlBindingStore(database.db);
  const world: World = {
    sqlDown: false,
    allocation: new AllocationService({
      registry: inventory.registry,
      repairs: inventory.repairs,
      clock: systemClock,
      log: silentLogger,
      store: {
        active: () => store.active(),
        apply: async (changes) => {
          if (world.sqlDown) throw new Error('gone');
          await store.apply(changes);
        },
      },
    }),
  };
  return world;
}

async function run(world: World, action: Step): Promise<void> {
  const { redis, scripts, caps } = inventory;
  const store = new RedisInventoryStore({ redis, scripts, sessionsPerProxy: caps.sessionsPerProxy });
  switch (action.op) {
    case 'allocate': {
      const { session: sessionId, phone, profile, pinned: pinnedProxy, direct } = action;
      await world.allocation.allocate({ sessionId, phone, profile, pinnedProxy, direct });
      return;
    }
    case 'release':
      await world.allocation.release(action.session, action);
      return;
    case 'releaseProfile':
      await world.allocation.releaseProfile(action.session, action);
      return;
    case 'assignPhone':
      await world.allocation.assignPhone(action.session, action.phone);
      return;
    case 'markBad':
      await store.markBad(action.proxy, null);
      return;
    case 'restore':
      await store.restore(action.proxy, 0);
      return;
    case 'drain':
      await store.drain(action.proxy, 0);
      return;
    case 'upload': {
      const source = (async function* () {
        yield Buffer.from(action.proxy);
      })();
      const pools = { store, pieces: unkeptPieces };
      await commitUpload(pools, await stageUpload(pools, 'proxies', source));
      return;
    }
    case 'reconcile':
      world.sqlDown = false;
      // With SQL gone again in the same batch, the pass ends with that error; Redis is repaired by then.
      await world.allocation.reconcile().catch((error: Error) => expect(error.message).toBe('gone'));
      return;
    case 'crash':
      world.sqlDown = true;
      return;
  }
}

async function activeRows(): Promise<Record<string, unknown>[]> {
  return database.db
    .selectFrom('session_bindings')
    .select(['bot_id', 'phone', 'profile_id'])
    .where('status', '=', 'active')
    .orderBy('bot_id')
    .execute();
}

test('whatever comes, and at once: every invariant holds after every batch', {
  timeout: patient(60_000),
}, async () => {
  const batches = fc.array(fc.array(step, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 25 });
  await fc.assert(
    fc.asyncProperty(batches, async (plan) => {
      await inventory.redis.flushall();
      await database.db.deleteFrom('session_bindings').execute();
      await seed(inventory, { proxies: PROXIES, profiles: PROFILES });
      const world = newWorld();
      for (const batch of plan) {
        await Promise.all(batch.map((action) => run(world, action)));
        await checkInvariants(inventory);
      }
      world.sqlDown = false;
      await world.allocation.flush();
      await world.allocation.reconcile();
      await checkInvariants(inventory);
      const bindings = await inventory.registry.bindings();
      expect(await activeRows()).toEqual(
        bindings
          .map(({ sessionId, phone, profile }) => ({
            bot_id: sessionId,
            phone,
            profile_id: profile?.startsWith('{') ? (JSON.parse(profile) as { id: string }).id : profile,
          }))
          .toSorted((a, b) => (a.bot_id < b.bot_id ? -1 : 1)),
      );
      // A second pass finds nothing: repairs come to rest.
      expect(await world.allocation.reconcile({ full: true })).toEqual({ repaired: 0 });
    }),
    { numRuns: 60 },
  );
});

const anyKey = fc.constantFrom(keys.proxiesAll, keys.proxiesAvailable, keys.proxiesBad, keys.proxiesDraining);
const profileKey = fc.constantFrom(keys.profilesAvailable, keys.profilesHeld);
const meddling = fc.oneof(
  fc.record({ command: fc.constantFrom('sadd', 'srem'), key: anyKey, member: proxy }),
  fc.record({ command: fc.constantFrom('sadd', 'srem'), key: profileKey, member: profile }),
  fc.record({ command: fc.constant('zadd'), key: fc.constant(keys.proxiesByLoad), member: proxy }),
  fc.record({ command: fc.constant('zrem'), key: fc.constant(keys.proxiesByLoad), member: proxy }),
  fc.record({ command: fc.constant('zrem'), key: fc.constant(keys.profilesOrder), member: profile }),
  fc.record({ command: fc.constant('hset'), key: fc.constant(keys.proxyActiveCount), member: proxy }),
  fc.record({ command: fc.constant('hdel'), key: fc.constant(keys.proxyActiveCount), member: proxy }),
  fc.record({ command: fc.constant('hset'), key: fc.constant(keys.phoneActiveCount), member: phone }),
);

test('whatever somebody does to the keys by hand: a reconcile pass puts it right', {
  timeout: patient(60_000),
}, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 15 }),
      fc.array(meddling, { minLength: 1, maxLength: 8 }),
      async (plan, edits) => {
        await inventory.redis.flushall();
        await seed(inventory, { proxies: PROXIES, profiles: PROFILES });
        const world = newWorld();
        for (const action of plan) await run(world, action);
        for (const { command, key, member } of edits) {
          const extra: Record<string, string[]> = { zadd: ['7', member], hset: [member, '9'] };
          await inventory.redis.call(command, key, ...(extra[command] ?? [member]));
        }
        world.sqlDown = false;
        await world.allocation.reconcile();
        await checkInvariants(inventory);
        expect(await world.allocation.reconcile({ full: true })).toEqual({ repaired: 0 });
      },
    ),
    { numRuns: 80 },
  );
});

test('allocations that run while a large fleet is recounted piece by piece are not taken for drift', async () => {
  await inventory.redis.flushall();
  await seed(inventory, { proxies: Array.from({ length: 60 }, (_, n) => proxyLine(n)) });
  const { RedisPoolRepairs } = await import('../../../src/infra/redis/allocation-repairs.ts');
  const repairs = new RedisPoolRepairs({ ...inventory, sessionsPerProxy: 2, recountAtOnce: 10 });
  let running = true;
  const busy = (async () => {
    for (let n = 0; running; n++) {
      await inventory.registry.allocate(wanting(`s${n % 100}`));
      await inventory.registry.release(`s${(n + 50) % 100}`, { keepProfile: false });
    }
  })();
  const found = await Promise.all(Array.from({ length: 10 }, () => repairs.recount()));
  running = false;
  await busy;
  expect(found.flat()).toEqual([]);
  const [some] = await inventory.registry.bindings();
  await inventory.redis.hset(keys.proxyActiveCount, some?.proxy ?? '', '9');
  expect(await repairs.recount()).toEqual([{ kind: 'proxy_count', subject: some?.proxy }]);
  await checkInvariants(inventory);
});

test('what a program adds that is no proxy does not reach a session', async () => {
  await inventory.redis.flushall();
  await inventory.redis.sadd(keys.proxiesAll, 'nonsense', proxyLine(1));
  await inventory.repairs.replace();
  expect(await inventory.redis.smembers(keys.proxiesAvailable)).toEqual([proxyLine(1)]);
  expect(await inventory.redis.smembers(keys.proxiesBad)).toEqual(['nonsense']);
  expect(inventoryKeys).toHaveLength(18);
});
