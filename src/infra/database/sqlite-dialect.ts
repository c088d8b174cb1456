import { Worker } from 'node:worker_threads';
import {
  CompiledQuery as Compiled,
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { messageOf } from '../../kernel/errors.ts';
import { ConnectionTurns } from './connection-turns.ts';
import type { ThreadAnswer, ThreadRequest, ThreadStatement, ThreadWork } from './sqlite-thread.ts';

export interface ThreadedSqlite {
  /** @param patient whether whoever uses it lets all others go first */
  dialect(patient: boolean): Dialect;
  /** See `Database.fenced`; patient. */
  fenced(statements: readonly CompiledQuery[]): Promise<boolean>;
  /** See `Database.together`; patient. */
  together(statements: readonly CompiledQuery[]): Promise<number[]>;
}

/**
 * SQLite in a thread of its own: neither a large statement nor the sync of a commit keeps the event loop from
 * answering. One connection: transactions take turns, as SQLite would have it anyway.
 */
export function threadedSqlite(path: string): ThreadedSqlite {
  const turns = new ConnectionTurns();
  let connection: ThreadConnection | undefined;
  const connect = (): ThreadConnection => {
    connection ??= new ThreadConnection(path);
    return connection;
  };
  const inTurn = async <T>(work: (thread: ThreadConnection) => Promise<T>): Promise<T> => {
    await turns.take(true);
    try {
      return await work(connect());
    } finally {
      turns.end();
    }
  };
  return {
    dialect: (patient) => ({
      createDriver: () => new ThreadedDriver(connect, turns, patient),
      createQueryCompiler: () => new SqliteQueryCompiler(),
      createAdapter: () => new TurnTakingAdapter(),
      createIntrospector: (db) => new SqliteIntrospector(db),
    }),
    fenced: (statements) => inTurn((thread) => thread.fenced(statements)),
    together: (statements) => inTurn((thread) => thread.together(statements)),
  };
}

/** Who goes first is decided here, not by Kysely. */
class TurnTakingAdapter extends SqliteAdapter {
  override get supportsMultipleConnections(): boolean {
    return true;
  }
}

class ThreadedDriver implements Driver {
  readonly #connect: () => ThreadConnection;
  readonly #turns: ConnectionTurns;
  readonly #patient: boolean;

  constructor(connect: () => ThreadConnection, turns: ConnectionTurns, patient: boolean) {
    this.#connect = connect;
    this.#turns = turns;
    this.#patient = patient;
  }

  async init(): Promise<void> {
    this.#connect();
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    await this.#turns.take(this.#patient);
    return this.#connect();
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    // All of ours write: one that began by reading could not go on once another process has written.
    await connection.executeQuery(Compiled.raw('begin immediate'));
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(Compiled.raw('commit'));
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    try {
      await connection.executeQuery(Compiled.raw('rollback'));
    } catch (error) {
      // A full disk, among others, makes SQLite roll back by itself: what the caller is to hear is that.
      if (!messageOf(error).includes('no transaction is active')) throw error;
    }
  }

  async releaseConnection(): Promise<void> {
    this.#turns.end();
  }

  async destroy(): Promise<void> {
    await this.#connect().close();
  }
}

class ThreadConnection implements DatabaseConnection {
  readonly #thread: Worker;
  readonly #waiting = new Map<number, { resolve(answer: ThreadAnswer): void; reject(error: Error): void }>();
  readonly #ended: Promise<void>;
  #failure: Error | undefined;
  #requests = 0;

  constructor(path: string) {
    // Beside us, in the same form as we: sources or built.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    this.#thread = new Worker(new URL(`./sqlite-thread.${extension}`, import.meta.url), {
      name: 'sqlite',
      workerData: { path },
      // Texts pass through it and are forgotten: without a bound a long upload would fill it with dead ones.
      resourceLimits: { maxYoungGenerationSizeMb: 12 },
    });
    this.#thread.on('message', (answer: ThreadAnswer) => {
      const caller = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      // Only what somebody waits for keeps the process alive.
      if (this.#waiting.size === 0) this.#thread.unref();
      caller?.resolve(answer);
    });
    this.#thread.on('error', (error: unknown) => this.#fail(error));
    this.#ended = new Promise((resolve) => {
      this.#thread.once('exit', () => {
        this.#fail(new Error('it has been closed'));
        resolve();
      });
    });
    this.#thread.unref();
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const answer = await this.#ask({ sql, parameters });
    if ('changes' in answer) {
      return {
        insertId: BigInt(answer.lastInsertRowid),
        numAffectedRows: BigInt(answer.changes),
        rows: [],
      };
    }
    return { rows: 'rows' in answer ? (answer.rows as R[]) : [] };
  }

  async fenced(statements: readonly CompiledQuery[]): Promise<boolean> {
    const answer = await this.#ask({ fenced: statements.map(toSend) });
    return 'passed' in answer && answer.passed;
  }

  async together(statements: readonly CompiledQuery[]): Promise<number[]> {
    const answer = await this.#ask({ together: statements.map(toSend) });
    return 'changed' in answer ? answer.changed : [];
  }

  // biome-ignore lint/correctness/useYield: nobody streams; Kysely wants the method.
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new Error('SQLite is not streamed from here');
  }

  async close(): Promise<void> {
    if (this.#failure) return;
    this.#thread.ref();
    this.#thread.postMessage('close');
    await this.#ended;
  }

  async #ask(work: ThreadWork): Promise<Exclude<ThreadAnswer, { error: unknown }>> {
    const answer = await this.#send(work);
    if (!('error' in answer)) return answer;
    const { name, message, code } = answer.error;
    throw Object.assign(new Error(message), { name, ...(code === '' ? {} : { code }) });
  }

  #send(work: ThreadWork): Promise<ThreadAnswer> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      const request: ThreadRequest = { id: ++this.#requests, ...work };
      this.#thread.postMessage(request);
      if (this.#waiting.size === 0) this.#thread.ref();
      this.#waiting.set(request.id, { resolve, reject });
    });
  }

  #fail(error: unknown): void {
    // Named like a failure of the disk, so that callers are told to try again later.
    this.#failure ??= Object.assign(
      new Error(`the database has gone: ${messageOf(error)}`, { cause: error }),
      {
        code: 'SQLITE_IOERR',
      },
    );
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}

const toSend = ({ sql, parameters }: CompiledQuery): ThreadStatement => ({ sql, parameters });
