import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CompiledQuery, sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { NameSeries, namedIn, seriesThatAre } from '../../../src/infra/database/task-names.ts';
import { createTaskStore } from '../../../src/infra/database/task-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import type { LedgerEvent } from '../../../src/services/ledger/ports.ts';
import { databaseEngines } from '../../conformance/databases.ts';

const at = '2030-01-01T00:00:00.000Z';
const claimed = (taskId: string, sessionId = 's1'): LedgerEvent => ({
  type: 'claimed',
  taskId,
  sessionId,
  at,
  attempts: 1,
  whatsappId: `WA-${taskId}`,
});
const receipt = (taskId: string, sessionId = 's1'): LedgerEvent => ({
  type: 'delivered',
  taskId: null,
  sessionId,
  at,
  whatsappId: `WA-${taskId}`,
});

/** A process that was started anew begins a series of its own. */
async function nameInAnewProcess(database: Database, ids: readonly string[], sessionId = 's1') {
  const store = createTaskStore(database, systemClock);
  await store.accept(
    ids.map((taskId) => ({ taskId, sessionId, raw: '{}', jobId: null, recipient: null, mediaRef: null })),
  );
  await store.apply(ids.map((id) => claimed(id, sessionId)));
}

const seriesOf = (database: Database, id: string) =>
  database.db.selectFrom('tasks').select('name_series').where('id', '=', id).executeTakeFirstOrThrow();

async function delivered(database: Database): Promise<string[]> {
  const rows = await database.db
    .selectFrom('tasks')
    .select(['id', 'session_id'])
    .where('state', '=', 'delivered')
    .orderBy('id')
    .orderBy('session_id')
    .execute();
  return rows.map((row) => `${row.session_id}/${row.id}`);
}

test('a series holds so many names, and a clock that is set back begins none anew', () => {
  let nowMs = 1000;
  const series = new NameSeries({ ...systemClock, nowMs: () => nowMs });
  const first = series.next(6000);
  nowMs = 500;
  expect(series.next(6000)).toBe(first);
  expect(series.next(1)).toBe(first + 1);
});

describe.each(databaseEngines())('names of tasks, on $name', (engine) => {
  describe.skipIf(engine.skip !== null)(engine.skip ?? 'store', () => {
    let database: Database;
    beforeEach(async () => {
      database = await engine.open();
    });
    afterEach(async () => {
      await database.close();
    });

    test('a receipt finds its task in whichever series it is, and in its own session alone', async () => {
      await nameInAnewProcess(database, ['a', 'b']);
      await nameInAnewProcess(database, ['c']);
      await nameInAnewProcess(database, ['a'], 's2');
      for (const id of ['d', 'e', 'f']) await nameInAnewProcess(database, [id]);
      expect((await seriesOf(database, 'c')).name_series).toBeGreaterThan(
        (await seriesOf(database, 'b')).name_series,
      );
      const store = createTaskStore(database, systemClock);
      await store.apply([receipt('a'), receipt('c'), receipt('b', 's2'), receipt('unknown')]);
      expect(await delivered(database)).toEqual(['s1/a', 's1/c']);
    });

    test('a task keeps its series', async () => {
      await nameInAnewProcess(database, ['a']);
      const before = await seriesOf(database, 'a');
      const later = createTaskStore(database, systemClock);
      await later.apply([{ type: 'requeued', taskId: 'a', sessionId: 's1', at, reason: 'why' }]);
      expect(await seriesOf(database, 'a')).toEqual(before);
    });
  });
});

describe('in a file of SQLite', () => {
  let dir: string;
  let database: Database;
  const reopen = async () => {
    database = await openDatabase({ sqlitePath: join(dir, 'test.sqlite') });
  };
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'flotilla-names-'));
    await reopen();
  });
  afterEach(async () => {
    await database.close();
    await rm(dir, { recursive: true });
  });

  test('what an earlier version has named is found after the upgrade', async () => {
    await nameInAnewProcess(database, ['a', 'b']);
    for (const statement of [
      'drop index tasks_whatsapp',
      'alter table tasks drop column name_series',
      'create index tasks_whatsapp on tasks (whatsapp_id) where whatsapp_id is not null',
      `delete from kysely_migration where name = '0012-name-series'`,
    ]) {
      await sql.raw(statement).execute(database.db);
    }
    await database.close();
    await reopen();
    await nameInAnewProcess(database, ['c']);
    await createTaskStore(database, systemClock).apply([receipt('b'), receipt('c')]);
    expect(await delivered(database)).toEqual(['s1/b', 's1/c']);
  });

  test('a look-up goes by the index, whatever there is', async () => {
    const statements = [seriesThatAre(), namedIn('sqlite', [1, 2], [{ session_id: 's', whatsapp_id: 'w' }])];
    for (const { sql: text, parameters } of statements.map((statement) => statement.compile(database.db))) {
      const plan = CompiledQuery.raw(`explain query plan ${text}`, [...parameters]);
      const { rows } = await database.db.executeQuery<{ detail: string }>(plan);
      const looks = rows
        .map(({ detail }) => detail)
        .filter((detail) => /^(SCAN|SEARCH) (tasks|t)\b/.test(detail));
      expect(looks.length).toBeGreaterThan(0);
      for (const look of looks) expect(look).toMatch(/INDEX tasks_whatsapp/);
    }
  });
});
