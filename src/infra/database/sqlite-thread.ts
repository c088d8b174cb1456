import { parentPort, workerData } from 'node:worker_threads';
import SqliteDatabase, { type Statement } from 'better-sqlite3';
import { freeBytes } from '../../kernel/bytes.ts';
import { whenFree } from './sqlite-patience.ts';

export interface ThreadStatement {
  sql: string;
  parameters: readonly unknown[];
}

export type ThreadWork =
  | ThreadStatement
  /** A transaction. If the first statement changes nothing, the others are left out. */
  | { fenced: readonly ThreadStatement[] }
  /** A transaction of all of them. */
  | { together: readonly ThreadStatement[] };

/** Runs in a thread of its own: one SQLite connection, one request after the other, in the order of arrival. */
export type ThreadRequest = { id: number } & ThreadWork;

export type ThreadAnswer =
  | { id: number; rows: unknown[] }
  | { id: number; passed: boolean }
  | { id: number; changed: number[] }
  | { id: number; changes: number; lastInsertRowid: number | bigint }
  | { id: number; error: { name: string; message: string; code: string } };

const STATEMENTS_KEPT = 200;

if (parentPort) serve(parentPort, (workerData as { path: string }).path);

function serve(port: NonNullable<typeof parentPort>, path: string): void {
  let database: SqliteDatabase.Database | undefined;
  const statements = new Map<string, Statement>();

  const open = (): SqliteDatabase.Database => {
    const opened = new SqliteDatabase(path, { timeout: 10_000 });
    // Of a new file; an older one keeps its own. Tasks come by the dozen, and each page is written on its own.
    opened.pragma('page_size = 8192');
    opened.pragma('journal_mode = WAL');
    opened.pragma('synchronous = FULL');
    opened.pragma('foreign_keys = ON');
    opened.pragma('cache_size = -32000');
    // Statements of many rows keep what they change until they end: it need not go through a file.
    opened.pragma('temp_store = MEMORY');
    // From here on whoever finds the file taken waits in our way.
    opened.pragma('busy_timeout = 0');
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

  const changesOf = ({ sql, parameters }: ThreadStatement): number => prepare(sql).run(...parameters).changes;

  const runFenced = ([fence, ...rest]: readonly ThreadStatement[]): boolean => {
    const passed = fence !== undefined && changesOf(fence) > 0;
    if (passed) for (const statement of rest) changesOf(statement);
    return passed;
  };

  const inTransaction = <T>(work: () => T): T => {
    whenFree(() => prepare('begin immediate').run());
    try {
      const result = work();
      prepare('commit').run();
      return result;
    } catch (error) {
      // A full disk, among others, makes SQLite roll back by itself.
      if (database?.inTransaction) prepare('rollback').run();
      throw error;
    }
  };

  const single = (id: number, { sql, parameters }: ThreadStatement): ThreadAnswer => {
    const statement = prepare(sql);
    if (statement.reader) return { id, rows: statement.all(...parameters) };
    return { id, ...statement.run(...parameters) };
  };

  const run = (request: ThreadRequest): ThreadAnswer => {
    const { id } = request;
    try {
      if ('fenced' in request) return { id, passed: inTransaction(() => runFenced(request.fenced)) };
      if ('together' in request) return { id, changed: inTransaction(() => request.together.map(changesOf)) };
      return database?.inTransaction ? single(id, request) : whenFree(() => single(id, request));
    } catch (error) {
      const { name, message, code } = error as Error & { code?: unknown };
      return { id, error: { name, message, code: typeof code === 'string' ? code : '' } };
    }
  };

  port.on('message', (request: ThreadRequest | 'close') => {
    if (request !== 'close') {
      port.postMessage(run(request));
      if ('parameters' in request) freeAll(request.parameters);
      return;
    }
    statements.clear();
    database?.close();
    port.close();
  });
}

/** Those that hold bytes are ours alone: they came by message. */
function freeAll(parameters: readonly unknown[]): void {
  for (const parameter of parameters) if (parameter instanceof Uint8Array) freeBytes(parameter);
}
