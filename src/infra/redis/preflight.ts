import { Redis } from 'ioredis';
import { messageOf } from '../../kernel/errors.ts';

/** A Redis that cannot be worked with. The message is one line for a person, without credentials. */
export class RedisPreflightError extends Error {
  override readonly name = 'RedisPreflightError';
}

const OLDEST_MAJOR = 7;
const CONNECT_TIMEOUT_MS = 5000;

/**
 * Makes sure that a Redis answers and is new enough.
 * @returns warnings about settings that put accepted work at risk
 * @throws RedisPreflightError
 */
export async function checkRedis(url: string): Promise<string[]> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
  });
  let reason: string | undefined;
  redis.on('error', (error: Error) => {
    reason ??= messageOf(error);
  });
  try {
    await redis.connect();
    const info = parseInfo(await redis.info());
    const version = info.get('redis_version') ?? '0';
    if (Number.parseInt(version, 10) < OLDEST_MAJOR) {
      throw new RedisPreflightError(
        `REDIS_URL names a Redis ${version}; ${OLDEST_MAJOR} or newer is needed.`,
      );
    }
    return warnings(info, await appendFsync(redis));
  } catch (error) {
    if (error instanceof RedisPreflightError) throw error;
    throw new RedisPreflightError(
      `Redis at ${new URL(url).host} cannot be used: ${reason ?? messageOf(error)}.`,
      { cause: error },
    );
  } finally {
    redis.disconnect();
  }
}

function parseInfo(text: string): Map<string, string> {
  const facts = text.split('\r\n').filter((line) => line.includes(':'));
  return new Map(facts.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]));
}

/** @returns null where this must not be asked, as on some servers that others run */
async function appendFsync(redis: Redis): Promise<string | null> {
  try {
    const [, value] = (await redis.config('GET', 'appendfsync')) as string[];
    return value ?? null;
  } catch (error) {
    if (error instanceof Error && error.name === 'ReplyError') return null;
    throw error;
  }
}

function warnings(info: Map<string, string>, fsync: string | null): string[] {
  const found: string[] = [];
  if (info.get('aof_enabled') === '0') {
    found.push(
      'Redis runs without an append-only file (appendonly no): a restart of it loses the work in flight.',
    );
  }
  if (info.get('aof_enabled') === '1' && fsync === 'no') {
    found.push(
      'Redis leaves it to the system when its log reaches the disk (appendfsync no): a crash of the machine loses half a minute of the work in flight. Set it to everysec or always.',
    );
  }
  const policy = info.get('maxmemory_policy');
  if (info.get('maxmemory') !== '0' && policy !== undefined && policy !== 'noeviction') {
    found.push(`Redis may throw data away (maxmemory-policy ${policy}): set it to noeviction.`);
  }
  if (info.get('role') === 'slave') found.push('Redis is a replica: writes will be refused.');
  return found;
}
