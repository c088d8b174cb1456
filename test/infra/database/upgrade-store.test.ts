import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Database } from '../../../src/infra/database/database.ts';
import { createUpgradeStore } from '../../../src/infra/database/upgrade-store.ts';
import type { Replacement, UpgradeRecord, UpgradeStore } from '../../../src/services/upgrades/ports.ts';
import { databaseEngines } from '../../conformance/databases.ts';

const AT = '2026-01-01T00:00:00.000Z';

describe.each(databaseEngines())('upgrades on $name', (engine) => {
  describe.skipIf(engine.skip !== null)(engine.skip ?? 'store', () => {
    let database: Database;
    let store: UpgradeStore;
    beforeEach(async () => {
      database = await engine.open();
      store = createUpgradeStore(database);
    });
    afterAll(() => engine.stop());
    afterEach(() => database.close());

    const upgrade = (id: string, over: Partial<UpgradeRecord> = {}): UpgradeRecord => ({
      id,
      image: 'worker:2',
      fromImage: 'worker:1',
      options: {
        canarySessions: 1,
        watchSeconds: 1,
        parallel: 1,
        connectSeconds: 1,
        maxFailed: 0,
        maxFailedSends: 0,
        onFailure: 'stop',
      },
      state: 'canary',
      pausedIn: null,
      reason: null,
      watchedMs: 0,
      createdAt: `${id.padStart(4, '0')}-01-01T00:00:00.000Z`,
      updatedAt: AT,
      finishedAt: null,
      ...over,
    });
    const session = (id: string, over: Record<string, unknown> = {}) =>
      database.db
        .insertInto('sessions')
        .values({
          ...{ id, provider: 'p', desired: 'running', state: 'connected', generation: 4, direct: 0 },
          ...{
            epoch: 7,
            crashes: 2,
            logout: 0,
            created_at: AT,
            updated_at: AT,
            worker_image: 'worker:1',
            ...over,
          },
        })
        .execute();
    const replacement = (over: Partial<Replacement> = {}): Replacement => ({
      ...{ upgradeId: '1', during: 'canary', sessionId: 's', epoch: 7, image: 'worker:2' },
      member: {
        canary: true,
        state: 'replacing',
        reason: null,
        beforeImage: 'worker:1',
        wasConnected: true,
        endsBefore: 0,
        failedBefore: 0,
      },
      ...over,
    });
    const row = (id: string) =>
      database.db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirstOrThrow();

    test('of many at once one is made, and the next one when it is over', async () => {
      const made = await Promise.all(['1', '2', '3'].map((id) => store.create(upgrade(id), ['a'])));
      expect(made.filter(Boolean)).toHaveLength(1);
      const active = await store.active();
      expect(await store.latest(9)).toEqual([active]);
      expect(await store.members(active?.id ?? '')).toMatchObject([
        { sessionId: 'a', canary: true, state: 'waiting' },
      ]);
      const { id, state } = active as UpgradeRecord;
      expect(await store.finish({ id, state }, 'rolled_back', null, AT)).toBe(true);
      expect(await store.finish({ id, state }, 'rolled_back', null, AT)).toBe(false);
      expect(await store.active()).toBeNull();
      expect(await store.create(upgrade('9'), [])).toBe(true);
    });

    test('a replacement is one step, and nothing of it happens when things have changed', async () => {
      await store.create(upgrade('1'), ['s']);
      await session('s');
      await session('gone', { desired: 'deleted' });
      for (const over of [
        { during: 'rolling' as const },
        { epoch: 6 },
        { sessionId: 'gone' },
        { upgradeId: '2' },
      ]) {
        expect(await store.replace(replacement(over), AT)).toBe(false);
      }
      expect(await row('s')).toMatchObject({ generation: 4, image: null });
      expect(await store.replace(replacement(), AT)).toBe(true);
      expect(await row('s')).toMatchObject({
        generation: 5,
        image: 'worker:2',
        crashes: 0,
        worker_image: 'worker:1',
      });
      expect(await store.members('1')).toMatchObject([
        { sessionId: 's', state: 'replacing', epochBefore: 7 },
      ]);
      await store.settle('1', 's', 'failed', 'why', AT);
      await store.retryFailed('1', AT);
      expect(await store.members('1')).toMatchObject([{ state: 'waiting', beforeImage: 'worker:1' }]);
    });

    test('when it is done, all run from its image; it can be reopened while it is the last', async () => {
      await store.create(upgrade('1'), []);
      await session('s');
      await store.replace(replacement(), AT);
      const fleet = { image: 'worker:2', configured: 'worker:1' };
      expect(await store.finish({ id: '1', state: 'canary' }, 'done', fleet, AT)).toBe(true);
      expect((await row('s')).image).toBeNull();
      expect(await store.fleetImage()).toEqual(fleet);
      const back = { image: 'worker:1', configured: 'worker:1' };
      await store.create(upgrade('2'), []);
      expect(await store.reopen('1', back, AT)).toBe(false);
      await store.finish({ id: '2', state: 'canary' }, 'done', { ...fleet, image: 'worker:3' }, AT);
      expect(await store.reopen('1', back, AT)).toBe(false);
      expect(await store.reopen('2', fleet, AT)).toBe(true);
      expect(await store.fleetImage()).toEqual(fleet);
      expect(await store.active()).toMatchObject({ id: '2', state: 'rolling_back', finishedAt: AT });
    });

    test('counts what failed, but not what has no recipient, and who runs from what', async () => {
      await session('s');
      await session('t', { worker_image: 'worker:2', state: 'starting' });
      await session('u', { worker_image: 'worker:2', state: 'stopped' });
      for (const [id, state, reason] of [
        ['1', 'failed', 'whatsapp_479: no'],
        ['2', 'failed', null],
        ['3', 'failed', 'not_on_whatsapp: no'],
        ['4', 'sent', null],
      ] as const) {
        await database.db
          .insertInto('tasks')
          .values({
            id,
            session_id: 's',
            state,
            reason,
            payload: '{}',
            position: 0,
            attempts: 1,
            created_at: AT,
          })
          .execute();
      }
      expect(await store.failedSends([])).toEqual(new Map());
      expect(await store.failedSends(['s', 't'])).toEqual(new Map([['s', 2]]));
      expect(await store.workersByImage()).toEqual(
        new Map([
          ['worker:1', 1],
          ['worker:2', 1],
        ]),
      );
      expect((await store.sessions()).map(({ id, workerImage }) => `${id} ${workerImage}`)).toEqual([
        's worker:1',
        't worker:2',
        'u worker:2',
      ]);
    });
  });
});
