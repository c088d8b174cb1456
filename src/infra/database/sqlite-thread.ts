import { parentPort, workerData } from 'node:worker_threads';
import SqliteDatabase, { type Statement } from 'better-sqlite3';

/** Runs in a thread of its own: one SQLite connection, one statement after the other, in the order of arrival. */
export interface ThreadRequest {
  id: number;
  sql: string;
  parameters: readonly unknown[];
}

export type ThreadAnswer =
  | { id: number; rows: unknown[] }
  | { id: number; changes: number; lastInsertRowid: number | bigint }
  | { id: number; error: { name: string; message: string; code: string } };

const STATEMENTS_KEPT = 200;

if (parentPort) serve(parentPort, (workerData as { path: string }).path);

function serve(port: NonNullable<typeof parentPort>, path: string): void {
  let database: SqliteDatabase.Database | undefined;
  const statements = new Map<string, Statement>();

  const open = (): SqliteDatabase.Database => {
    const opened = new SqliteDatabase(path, { timeout: 10_000 });
    opened.pragma('journal_mode = WAL');
    opened.pragma('synchronous = FULL');
    opened.pragma('foreign_keys = ON');
    opened.pragma('cache_size = -32000');
    return opened;
  };

  const prepare = (sql: string): Statement => {
    database ??= open();
    let statement = statements.get(sql);
    if (!statement) {
      statement = database.prepare(sql);
      if (statements.size >= STATEMENTS_KEPT) statements.clear();
      statements.set(sql, statement);
    }
    return statement;
  };

  const run = ({ id, sql, parameters }: ThreadRequest): ThreadAnswer => {
    try {
      const statement = prepare(sql);
      if (statement.reader) return { id, rows: statement.all(...parameters) };
      return { id, ...statement.run(...parameters) };
    } catch (error) {
      const { name, message, code } = error as Error & { code?: unknown };
      return { id, error: { name, message, code: typeof code === 'string' ? code : '' } };
    }
  };

  port.on('message', (request: ThreadRequest | 'close') => {
    if (request !== 'close') return port.postMessage(run(request));
    statements.clear();
    database?.close();
    port.close();
  });
}
