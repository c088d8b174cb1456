import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { copySqlite, dumpPostgres, restorePostgres } from '../../../src/infra/backup/database-copy.ts';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { postgresBinDir, startPostgres, type TestPostgres } from '../../helpers/postgres.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flotilla-copy-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const AT = '2026-01-01T00:00:00.000Z';
const addEvents = (database: Database, from: number, count: number) =>
  database.db
    .insertInto('events')
    .values(Array.from({ length: count }, (_, n) => ({ type: `t${from + n}`, data: '{}', created_at: AT })))
    .execute();
const countOf = async (database: Database): Promise<number> =>
  (await database.db.selectFrom('events').select('id').execute()).length;

test('SQLite is copied as of one moment, while it is written to without a pause', async () => {
  const database = await openDatabase({ sqlitePath: join(dir, 'source.sqlite') });
  await addEvents(database, 0, 2000);
  const stop = new AbortController();
  const writing = (async () => {
    for (let n = 1; !stop.signal.aborted; n += 1) await addEvents(database, n * 2000, 10);
  })();
  const copy = join(dir, 'copy.sqlite');
  await copySqlite(join(dir, 'source.sqlite'), copy);
  stop.abort();
  await writing;
  const copied = await openDatabase({ sqlitePath: copy });
  const count = await countOf(copied);
  expect(count).toBeGreaterThanOrEqual(2000);
  // Each write was of ten rows: none is there by half.
  expect(count % 10).toBe(0);
  await copied.close();
  await database.close();
  await expect(copySqlite(join(dir, 'nothing.sqlite'), copy)).rejects.toThrow();
});

const binDir = postgresBinDir();
describe.skipIf(binDir === null)('Postgres', () => {
  let server: TestPostgres;
  beforeAll(async () => {
    server = await startPostgres(binDir ?? '');
  });
  afterAll(() => server?.stop());

  test('is dumped and brought into an empty database', async () => {
    const searchPath = `${binDir}:${process.env.PATH}`;
    const database = await openDatabase({ postgresUrl: server.url });
    await addEvents(database, 0, 20);
    const file = join(dir, 'database.dump');
    await dumpPostgres(server.url, file, searchPath);
    await database.close();

    const admin = new pg.Client({ connectionString: server.url });
    await admin.connect();
    await admin.query('create database another');
    await admin.end();
    const url = new URL(server.url);
    url.pathname = '/another';
    await restorePostgres(String(url), file, searchPath);
    // The schema is known as it is: nothing is migrated twice.
    const restored = await openDatabase({ postgresUrl: String(url) });
    expect(await countOf(restored)).toBe(20);
    await addEvents(restored, 20, 1);
    await restored.close();
    await expect(restorePostgres(String(url), file, searchPath)).rejects.toThrow(
      /pg_restore failed: .*exists/,
    );
    url.pathname = '/nowhere';
    await expect(dumpPostgres(String(url), file, searchPath)).rejects.toThrow(
      /pg_dump failed: .*"nowhere" does not/,
    );
    await expect(dumpPostgres(String(url), file, '/nowhere')).rejects.toThrow(/pg_dump cannot be run/);
  });
});
