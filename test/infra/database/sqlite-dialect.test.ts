import { sql } from 'kysely';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';

let database: Database;

beforeEach(async () => {
  database = await openDatabase({ sqlitePath: ':memory:' });
});

afterEach(() => database.close());

it('names what went wrong by its code, as callers are told by it what to do', async () => {
  await sql`create table once (id text primary key)`.execute(database.db);
  await sql`insert into once values ('a')`.execute(database.db);
  await expect(sql`insert into once values ('a')`.execute(database.db)).rejects.toMatchObject({
    name: 'SqliteError',
    code: 'SQLITE_CONSTRAINT_PRIMARYKEY',
  });
});

it('leaves the event loop free while a statement runs', async () => {
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 1);
  const { rows } = await sql<{ n: number }>`
    with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 1000000)
    select count(*) as n from numbers`.execute(database.db);
  clearInterval(timer);
  expect(rows).toEqual([{ n: 1_000_000 }]);
  expect(turns).toBeGreaterThan(5);
});

it('keeps other statements out of a transaction, and takes it back as a whole', async () => {
  await sql`create table kept (id integer)`.execute(database.db);
  const count = () => sql<{ n: number }>`select count(*) as n from kept`.execute(database.db);
  let between: ReturnType<typeof count> | undefined;
  const failed = database.db.transaction().execute(async (tx) => {
    await sql`insert into kept values (1)`.execute(tx);
    between = count();
    throw new Error('no');
  });
  await expect(failed).rejects.toThrow('no');
  expect((await between)?.rows).toEqual([{ n: 0 }]);
});

it('lets everybody else go before those who bring much', async () => {
  await sql`create table came (who text)`.execute(database.db);
  const order: string[] = [];
  const came = (who: string) => () => order.push(who);
  await database.db.transaction().execute(async (tx) => {
    const patient = sql`insert into came values ('patient')`.execute(database.patient).then(came('patient'));
    const fenced = database
      .fenced([sql`insert into came values ('fenced')`.compile(database.db)])
      .then(came('fenced'));
    const hurried = sql`insert into came values ('hurried')`.execute(database.db).then(came('hurried'));
    await sql`insert into came values ('first')`.execute(tx);
    void Promise.all([patient, fenced, hurried]);
  });
  await expect.poll(() => order.length).toBe(3);
  expect(order[0]).toBe('hurried');
});

it('carries out what belongs together as a whole or not at all, and says what each statement has changed', async () => {
  await sql`create table parts (id integer primary key, done integer)`.execute(database.db);
  const insert = (id: number) => sql`insert into parts values (${id}, 0)`.compile(database.db);
  expect(await database.together([insert(1), insert(2)])).toEqual([1, 1]);
  await expect(database.together([insert(3), insert(2)])).rejects.toMatchObject({
    code: 'SQLITE_CONSTRAINT_PRIMARYKEY',
  });
  const all = sql`update parts set done = 1`.compile(database.db);
  const none = sql`update parts set done = 1 where id > 2`.compile(database.db);
  expect(await database.together([none, all])).toEqual([0, 2]);
});

it('refuses what comes after it was closed, as a failure that passes', async () => {
  await database.close();
  await expect(database.ping()).rejects.toThrow();
});
