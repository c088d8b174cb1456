import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import SqliteDatabase from 'better-sqlite3';
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { whenFree } from '../../../src/infra/database/sqlite-patience.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { patient } from '../../patience.ts';

let dir: string;
let database: Database;
/** Another process, as far as the file's locks go. */
let other: SqliteDatabase.Database;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flotilla-patience-'));
  database = await openDatabase({ sqlitePath: join(dir, 'test.sqlite') });
  other = new SqliteDatabase(join(dir, 'test.sqlite'));
  await sql`create table came (who text)`.execute(database.db);
});
afterAll(async () => {
  other.close();
  await database.close();
  await rm(dir, { recursive: true });
});

const insert = () => sql`insert into came values ('x')`;
/** When SQLite's own way of waiting is amid a sleep of 100 ms. */
const HELD_MS = 270;

it.each([
  ['a single statement', () => insert().execute(database.db)],
  ['a transaction', () => database.db.transaction().execute((tx) => insert().execute(tx))],
  ['a transaction in one piece', () => database.together([insert().compile(database.db)])],
])('%s goes on as soon as the other process has ended its transaction', async (_, write) => {
  const waits: number[] = [];
  for (let round = 0; round < 5; round++) {
    other.exec('begin immediate');
    let done = false;
    const written = write().finally(() => {
      done = true;
    });
    await systemClock.sleep(HELD_MS);
    expect(done).toBe(false);
    const freed = performance.now();
    other.exec('commit');
    await written;
    waits.push(performance.now() - freed);
  }
  expect(Math.min(...waits)).toBeLessThan(patient(40));
});

it('what another process has written meanwhile is not in the way of who writes next', async () => {
  other.exec('begin immediate');
  const written = insert().execute(database.db);
  other.exec("insert into came values ('other'); commit");
  await expect(written).resolves.toBeDefined();
});

it('gives up at once what has failed for another reason', () => {
  let tries = 0;
  const failing = (): never => {
    tries += 1;
    throw new SqliteDatabase.SqliteError('disk I/O error', 'SQLITE_IOERR');
  };
  expect(() => whenFree(failing)).toThrow('disk I/O error');
  expect(tries).toBe(1);
});
