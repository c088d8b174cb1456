import { Redis } from 'ioredis';
import type { Logger } from '../../kernel/log.ts';

/** What a special client may set otherwise. */
interface ConnectionOptions {
  maxRetriesPerRequest?: number | null;
  enableAutoPipelining?: boolean;
}

/** An outage is over for us so soon after it is over; a refused connection costs next to nothing. */
const LONGEST_RETRY_MS = 200;

export interface RedisClientOptions {
  url: string;
  name: string;
  log: Logger;
  /** A command that has no answer after this many milliseconds fails; nothing may hang on a dead server. Null: waits for ever. */
  commandTimeoutMs?: number | null;
  overrides?: ConnectionOptions;
}

/** A client for commands and scripts: auto-pipelined, timed out, reconnecting for ever. */
export function createRedis({
  url,
  name,
  log,
  commandTimeoutMs = 5000,
  overrides = {},
}: RedisClientOptions): Redis {
  const redis = new Redis(url, {
    connectionName: `flotilla:${name}`,
    enableAutoPipelining: true,
    // What comes often is gathered before (outbox-turns.ts, outbox-wakeups.ts); to gather it again would cost another
    // turn, and the wait for what was gathered before it.
    autoPipeliningIgnoredCommands: ['evalsha', 'publish'],
    ...(commandTimeoutMs === null ? {} : { commandTimeout: commandTimeoutMs }),
    connectTimeout: 5000,
    maxRetriesPerRequest: 2,
    // A server that loads its data is asked again soon, and not when it guesses that it will be done (up to ten seconds).
    maxLoadingRetryTime: LONGEST_RETRY_MS,
    retryStrategy: (attempt) => Math.min(50 * attempt, LONGEST_RETRY_MS),
    // A replica that was a master answers READONLY after a failover: reconnect, and send the command again.
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false),
    ...overrides,
  });
  let down = false;
  redis.on('error', (error: Error) => {
    if (!down) log.warn({ client: name, error: error.message }, 'redis connection lost');
    down = true;
  });
  redis.on('ready', () => {
    if (down) log.info({ client: name }, 'redis connection is back');
    down = false;
  });
  return redis;
}

/** A client that only listens: it must not time its one long subscription out. */
export function createSubscriber(options: Omit<RedisClientOptions, 'commandTimeoutMs'>): Redis {
  return createRedis({
    ...options,
    commandTimeoutMs: null,
    overrides: {
      maxRetriesPerRequest: null,
      enableAutoPipelining: false,
      ...options.overrides,
    },
  });
}
