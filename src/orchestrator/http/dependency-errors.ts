import { type FlotillaError, messageOf, unavailable } from '../../kernel/errors.ts';

/**
 * A dependency's own error, as callers may see it: 503 with `Retry-After`, naming the dependency but no host,
 * statement or credential. Undefined for everything else, which is then a bug of ours.
 */
export function classifyDependencyError(error: unknown): FlotillaError | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = (error as { code?: unknown }).code;
  const text = messageOf(error);
  if (isRedis(error, text))
    return unavailable('redis_unavailable', 'Redis does not answer; try again.', { cause: error });
  if (
    typeof code === 'string' &&
    /^(SQLITE_(FULL|IOERR|BUSY|LOCKED|READONLY|CANTOPEN)|08\w{3}|57P\d\d|53\w{3})/.test(code)
  ) {
    return unavailable('database_unavailable', 'The database cannot take this now; try again.', {
      cause: error,
    });
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return unavailable('disk_full', 'The disk is full; nothing was stored.', { cause: error });
  }
  if (code === 'ECONNREFUSED' || code === 'ECONNRESET' || code === 'ETIMEDOUT') {
    return unavailable('dependency_unavailable', 'A dependency does not answer; try again.', {
      cause: error,
    });
  }
  return undefined;
}

function isRedis(error: Error, text: string): boolean {
  if (error.name === 'MaxRetriesPerRequestError') return true;
  if (text === 'Command timed out' || text === 'Connection is closed.') return true;
  // Of a pipeline that had gone out in part when the connection broke.
  if (error.name === 'AbortError' && text.startsWith('Command aborted')) return true;
  if (text.startsWith('Stream isn') || text.includes('enableOfflineQueue')) return true;
  return (
    error.name === 'ReplyError' &&
    /^(OOM|LOADING|READONLY|MASTERDOWN|NOREPLICAS|BUSY|MISCONF|NOAUTH|WRONGPASS)/.test(text)
  );
}
