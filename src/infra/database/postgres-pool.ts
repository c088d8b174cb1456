import type { PostgresPool, PostgresPoolClient } from 'kysely';
import pg from 'pg';
import { messageOf } from '../../kernel/errors.ts';

/** How long a statement, or the way to a connection, may take. */
const PATIENCE_MS = 10_000;

const CONNECTION_FAILURE = '08006';

export interface PostgresPoolOptions {
  /** For each statement; null: as long as it takes. */
  patienceMs?: number | null;
}

/**
 * Connections to Postgres that end nothing but themselves: what one cannot tell, because the server, the network or
 * both are gone or silent, becomes an error with an SQLSTATE of class 08, at the latest after `patienceMs`, and
 * the connection is replaced.
 */
export function createPostgresPool(
  connectionString: string,
  { patienceMs = PATIENCE_MS }: PostgresPoolOptions = {},
): PostgresPool {
  const pool = new pg.Pool({
    connectionString,
    max: 10,
    keepAlive: true,
    connectionTimeoutMillis: PATIENCE_MS,
    ...(patienceMs === null ? {} : { query_timeout: patienceMs }),
  });
  // A connection that the server ends is told of by an event as well, and one that nobody hears ends the process:
  // by the pool while nobody uses the connection, by the connection itself while somebody does. Whoever uses it is
  // told by the failure of the statement.
  const ended = () => undefined;
  pool.on('error', ended);
  pool.on('connect', (client) => client.on('error', ended));
  // Kysely knows a connection by its client.
  const known = new WeakMap<pg.PoolClient, PostgresPoolClient>();
  return {
    options: pool.options,
    end: () => pool.end(),
    connect: async () => {
      const client = await pool.connect().catch((error: unknown) => {
        throw asConnectionFailure(error);
      });
      const wrapped = known.get(client) ?? replaceable(client);
      known.set(client, wrapped);
      return wrapped;
    },
  };
}

function replaceable(client: pg.PoolClient): PostgresPoolClient {
  let broken: Error | undefined;
  const query = async (sql: string, parameters: readonly unknown[]) => {
    // The rollback after a statement that timed out would wait behind it.
    if (broken) throw broken;
    try {
      return await client.query(sql, [...parameters]);
    } catch (error) {
      const failure = asConnectionFailure(error);
      if (failure !== error) broken = failure;
      throw failure;
    }
  };
  return {
    // Cursors are not used.
    query: query as unknown as PostgresPoolClient['query'],
    release: (destroy) => client.release(broken ?? destroy),
  };
}

/** What the server says stays as it is; the rest, of the system's or of `pg`, comes as one kind. */
function asConnectionFailure(error: unknown): Error {
  if (error instanceof pg.DatabaseError) return error;
  // Of several addresses that were tried.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  return Object.assign(
    new Error(`The connection to Postgres failed: ${messageOf(first)}`, { cause: error }),
    {
      code: CONNECTION_FAILURE,
    },
  );
}
