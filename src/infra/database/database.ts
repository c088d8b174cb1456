import { dirname } from 'node:path';
import { type CompiledQuery, Kysely, PostgresDialect, sql } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import pg from 'pg';
import { makeDirectory } from '../make-directory.ts';
import { up as initial } from './migrations/0001-initial.ts';
import { up as leanTaskIndexes } from './migrations/0002-lean-task-indexes.ts';
import { up as bindingLines } from './migrations/0003-binding-lines.ts';
import { up as workerImages } from './migrations/0004-worker-images.ts';
import { up as openTasks } from './migrations/0005-open-tasks.ts';
import { up as keptWishes } from './migrations/0006-kept-wishes.ts';
import { up as sessionRequests } from './migrations/0007-session-requests.ts';
import { up as keptPools } from './migrations/0008-kept-pools.ts';
import { up as packedPieces } from './migrations/0009-packed-pieces.ts';
import { up as webhookEvents } from './migrations/0010-webhook-events.ts';
import { up as keptHints } from './migrations/0011-kept-hints.ts';
import { up as nameSeries } from './migrations/0012-name-series.ts';
import { createPostgresPool, type PostgresPoolOptions } from './postgres-pool.ts';
import type { Schema } from './schema.ts';
import { threadedSqlite } from './sqlite-dialect.ts';
import { keepPrivate } from './sqlite-file.ts';

export type DatabaseDialect = 'sqlite' | 'postgres';

export interface Database {
  readonly db: Kysely<Schema>;
  readonly dialect: DatabaseDialect;
  /** The same for those who bring much and can wait: where there is one connection, all others go first. */
  readonly patient: Kysely<Schema>;
  /**
   * A transaction whose statements are known beforehand, for those who bring much. SQLite gets it in one piece, so
   * that nobody waits for what is on its way between two statements.
   * @returns false, with nothing written, if the first statement changes no row
   */
  fenced(statements: readonly CompiledQuery[]): Promise<boolean>;
  /**
   * As `fenced`, of statements that do not depend on one another.
   * @returns how many rows each has changed
   */
  together(statements: readonly CompiledQuery[]): Promise<number[]>;
  /** Rejects when the database does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export type DatabaseLocation = { sqlitePath: string } | { postgresUrl: string };

const migrations: Record<string, (db: Kysely<unknown>, dialect: DatabaseDialect) => Promise<void>> = {
  '0001-initial': initial,
  '0002-lean-task-indexes': leanTaskIndexes,
  '0003-binding-lines': bindingLines,
  '0004-worker-images': workerImages,
  '0005-open-tasks': openTasks,
  '0006-kept-wishes': keptWishes,
  '0007-session-requests': sessionRequests,
  '0008-kept-pools': keptPools,
  '0009-packed-pieces': packedPieces,
  '0010-webhook-events': webhookEvents,
  '0011-kept-hints': keptHints,
  '0012-name-series': nameSeries,
};

/**
 * Opens the ledger and brings its schema up to date.
 * SQLite: WAL, so that a dispatcher process can read and write beside the orchestrator; `synchronous=FULL`,
 * because an accepted job is a promise that must outlive a power cut.
 */
export async function openDatabase(location: DatabaseLocation): Promise<Database> {
  const engine = 'sqlitePath' in location ? sqlite(location.sqlitePath) : postgres(location.postgresUrl);
  const { db } = engine;
  try {
    if ('sqlitePath' in location) {
      await migrate(engine);
    } else {
      // An index over all tasks takes as long as it takes.
      const unhurried = postgres(location.postgresUrl, { patienceMs: null });
      await migrate(unhurried).finally(() => unhurried.db.destroy());
    }
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return {
    ...engine,
    ping: async () => void (await sql`select 1`.execute(db)),
    close: () => db.destroy(),
  };
}

async function migrate({ db, dialect }: Pick<Engine, 'db' | 'dialect'>): Promise<void> {
  const migrator = new Migrator({
    db,
    provider: {
      getMigrations: async () =>
        Object.fromEntries(
          Object.entries(migrations).map(([name, up]): [string, Migration] => [
            name,
            { up: (k) => up(k, dialect) },
          ]),
        ),
    },
  });
  const { error } = await migrator.migrateToLatest();
  if (error) throw error;
}

type Engine = Pick<Database, 'db' | 'dialect' | 'patient' | 'fenced' | 'together'>;

function sqlite(path: string): Engine {
  if (path !== ':memory:') {
    makeDirectory(dirname(path));
    keepPrivate(path);
  }
  const file = threadedSqlite(path);
  return {
    dialect: 'sqlite',
    db: new Kysely<Schema>({ dialect: file.dialect(false) }),
    patient: new Kysely<Schema>({ dialect: file.dialect(true) }),
    fenced: file.fenced,
    together: file.together,
  };
}

function postgres(connectionString: string, options?: PostgresPoolOptions): Engine {
  // int8 as number: epochs (ms) and counters stay far below 2^53.
  pg.types.setTypeParser(pg.types.builtins.INT8, Number);
  const db = new Kysely<Schema>({
    dialect: new PostgresDialect({ pool: createPostgresPool(connectionString, options) }),
  });
  return {
    dialect: 'postgres',
    db,
    patient: db,
    fenced: ([fence, ...rest]) =>
      db.transaction().execute(async (tx) => {
        if (!fence || !(await tx.executeQuery(fence)).numAffectedRows) return false;
        for (const statement of rest) await tx.executeQuery(statement);
        return true;
      }),
    together: (statements) =>
      db.transaction().execute(async (tx) => {
        const changed: number[] = [];
        for (const statement of statements) {
          changed.push(Number((await tx.executeQuery(statement)).numAffectedRows ?? 0));
        }
        return changed;
      }),
  };
}
