import { Kysely, PostgresDialect, sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { createPostgresPool } from '../../../src/infra/database/postgres-pool.ts';
import type { Schema } from '../../../src/infra/database/schema.ts';
import { postgresBinDir, startPostgres, type TestPostgres } from '../../helpers/postgres.ts';
import { startTcpProxy } from '../../helpers/tcp-proxy.ts';

const binDir = postgresBinDir();

/** What this process would have ended of, had the test runner not caught it. */
const uncaught: Error[] = [];
const note = (error: Error) => void uncaught.push(error);

describe.skipIf(!binDir)('connections to Postgres that the server ends', () => {
  let server: TestPostgres;
  let database: Database;
  let others: NodeJS.UncaughtExceptionListener[];
  beforeAll(async () => {
    server = await startPostgres(binDir ?? '');
    database = await openDatabase({ postgresUrl: server.url });
    others = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', note);
  });
  afterAll(async () => {
    await database?.close();
    await server?.stop();
    process.off('uncaughtException', note);
    for (const each of others ?? []) process.on('uncaughtException', each);
  });

  const backend = async (db: Database['db']): Promise<number> =>
    (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(db)).rows[0]?.pid ?? 0;

  /** Ends connections as an administrator would, or a server that stops. */
  const end = async (pid: number) => {
    const other = await openDatabase({ postgresUrl: server.url });
    await sql`select pg_terminate_backend(${pid})`.execute(other.db);
    for (;;) {
      const left = await sql`select 1 from pg_stat_activity where pid = ${pid}`.execute(other.db);
      if (left.rows.length === 0) break;
    }
    await other.close();
    // The news of it is read in a later turn of the event loop.
    await new Promise((resolve) => setTimeout(resolve, 100));
  };

  test('an idle one: nothing happens, and the next statement has another', async () => {
    const pid = await backend(database.db);
    await end(pid);
    expect(await backend(database.db)).not.toBe(pid);
    expect(uncaught).toEqual([]);
  });

  test('one in the middle of a transaction, between two statements: the transaction fails', async () => {
    const transaction = database.db.transaction().execute(async (tx) => {
      await end(await backend(tx));
      await sql`select 1`.execute(tx);
    });
    await expect(transaction).rejects.toThrow();
    await expect(database.ping()).resolves.toBeUndefined();
    expect(uncaught).toEqual([]);
  });

  test('one that falls silent: the statement fails in time, no rollback waits behind it, and it is replaced', async () => {
    const link = await startTcpProxy([Number(new URL(server.url).port)]);
    const url = new URL(server.url);
    url.port = String(link.port);
    const pool = createPostgresPool(url.href, { patienceMs: 2_000 });
    const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
    try {
      const before = await backend(db);
      let begun = 0;
      const transaction = db.transaction().execute(async (tx) => {
        await backend(tx);
        link.set('hole');
        begun = performance.now();
        return await backend(tx);
      });
      await expect(transaction).rejects.toMatchObject({ code: '08006' });
      expect(performance.now() - begun).toBeLessThan(3_900);
      link.set('pass');
      expect(await backend(db)).not.toBe(before);
    } finally {
      await db.destroy();
      await link.stop();
    }
    expect(uncaught).toEqual([]);
  });

  test('one that is being closed, while the server stops', async () => {
    const last = await openDatabase({ postgresUrl: server.url });
    await Promise.all(Array.from({ length: 5 }, () => backend(last.db)));
    await Promise.all([last.close(), server.stop()]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(uncaught).toEqual([]);
  });
});
