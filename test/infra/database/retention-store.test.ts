import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Database } from '../../../src/infra/database/database.ts';
import { createRetentionStore } from '../../../src/infra/database/retention-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { createRetention } from '../../../src/services/retention/retention.ts';
import { databaseEngines } from '../../conformance/databases.ts';
import { patient } from '../../patience.ts';

const OLD = '2026-01-01T00:00:00.000Z';
const CUT = '2026-02-01T00:00:00.000Z';
const NEW = '2026-03-01T00:00:00.000Z';

describe.each(databaseEngines())('retention on $name', (engine) => {
  describe.skipIf(engine.skip !== null)(engine.skip ?? 'store', () => {
    let database: Database;
    beforeEach(async () => {
      database = await engine.open();
    });
    afterAll(() => engine.stop());
    afterEach(() => database.close());

    const task = (id: string, state: string, created_at: string, job_id: string | null = null) =>
      database.db
        .insertInto('tasks')
        .values({ id, session_id: 's', state, created_at, job_id, payload: '{}', position: 0, attempts: 0 })
        .execute();
    const job = (id: string, state: string, finished_at: string | null) =>
      database.db
        .insertInto('jobs')
        .values({
          id,
          digest: id,
          received: 1,
          expanded: 1,
          state,
          created_at: OLD,
          updated_at: OLD,
          finished_at,
        })
        .execute();

    test('deletes tasks that ended long ago, and no task that is still owed', async () => {
      await task('old-read', 'read', OLD);
      await task('old-failed', 'failed', OLD);
      await task('old-queued', 'queued', OLD);
      await task('old-claimed', 'claimed', OLD);
      await task('new-read', 'read', NEW);
      await job('running', 'running', null);
      await job('done', 'done', OLD);
      await task('of-running-job', 'sent', OLD, 'running');
      await task('of-done-job', 'sent', OLD, 'done');
      const store = createRetentionStore(database.db);
      expect(await store.deleteEnded('tasks', CUT, 500)).toBe(3);
      const left = await database.db.selectFrom('tasks').select('id').orderBy('id').execute();
      expect(left.map(({ id }) => id)).toEqual(['new-read', 'of-running-job', 'old-claimed', 'old-queued']);
    });

    test('takes small bites, and jobs only when they ended', async () => {
      for (const id of ['a', 'b', 'c']) await job(id, 'done', OLD);
      await job('running', 'running', null);
      await job('new', 'done', NEW);
      const store = createRetentionStore(database.db);
      expect(await store.deleteEnded('jobs', CUT, 2)).toBe(2);
      expect(await store.deleteEnded('jobs', CUT, 2)).toBe(1);
      expect(await store.deleteEnded('jobs', CUT, 2)).toBe(0);
    });

    test('knows where the newest so many end', async () => {
      for (const id of ['a', 'b', 'c', 'd']) await task(id, 'sent', `2026-01-0${id.charCodeAt(0) - 96}`);
      const store = createRetentionStore(database.db);
      expect(await store.timeOfNewest('tasks', 1, null)).toBe('2026-01-04');
      expect(await store.timeOfNewest('tasks', 2, '2026-01-03')).toBe('2026-01-02');
      expect(await store.timeOfNewest('tasks', 5, null)).toBe(null);
      expect(await store.timeOfNewest('jobs', 1, null)).toBe(null);
      expect(await store.timeOfNewest('events', 1, null)).toBe(null);
    });

    test('keeps what is young and among the newest, and what has no end', async () => {
      const day = (n: number) => new Date(Date.now() - n * 86_400_000).toISOString();
      for (let n = 1; n <= 6; n++) await task(`t${n}`, n === 5 ? 'queued' : 'sent', day(n));
      const service = (rows: number, days: number) =>
        createRetention({
          store: createRetentionStore(database.db),
          outboxes: { forgetEnded: async () => 0 },
          rows,
          days,
          clock: systemClock,
          log: silentLogger,
        });
      const left = async () =>
        (await database.db.selectFrom('tasks').select('id').orderBy('id').execute()).map(({ id }) => id);
      const pass = async (rows: number, days: number, expected: string[]) => {
        const retention = service(rows, days);
        await retention.start();
        await expect.poll(left, { timeout: patient(10_000) }).toEqual(expected);
        await retention.stop();
      };
      await pass(100, 5.5, ['t1', 't2', 't3', 't4', 't5']);
      await pass(3, 30, ['t1', 't2', 't3', 't5']);
    });

    test.each(['events', 'bindings', 'senders'] as const)('deletes old %s', async (subject) => {
      for (const at of [OLD, NEW]) {
        await database.db
          .insertInto('events')
          .values({ type: 't', session_id: null, job_id: null, data: '{}', created_at: at })
          .execute();
        await database.db
          .insertInto('session_bindings')
          .values({ bot_id: 's', status: 'released', created_at: at, updated_at: at })
          .execute();
        await database.db
          .insertInto('recipient_senders')
          .values({ tenant: '', recipient: at, session_id: 's', updated_at: at })
          .execute();
      }
      await database.db
        .insertInto('session_bindings')
        .values({ bot_id: 's', status: 'active', created_at: OLD, updated_at: OLD })
        .execute();
      expect(await createRetentionStore(database.db).deleteEnded(subject, CUT, 500)).toBe(1);
    });
  });
});
