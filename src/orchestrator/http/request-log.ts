import type { RequestHandler } from 'express';
import type { Logger } from '../../kernel/log.ts';

export interface RequestLog {
  readonly middleware: RequestHandler;
  /** A request that has been answered. `route` is the pattern, never the path, which may name a phone. */
  answered(requestId: string, method: string, route: string, status: number, startedAtMs: number): void;
}

/** What happens for every message, and every few seconds for every worker. */
const SAMPLED = /^\/api\/worker\/|\/outbox\/enqueue$/;
/** Asked all day long by machines, whose business the answer is. */
const SILENT = /^\/(health|ready|metrics)$/;

/**
 * A line for each request, but for one in `every` of those that are many, so that they cost nothing; the logger
 * itself writes beside the requests.
 * @param every 0: no lines at all
 */
export function createRequestLog({ log, every }: { log: Logger; every: number }): RequestLog {
  let left = 1;
  const answered: RequestLog['answered'] = (requestId, method, route, status, startedAtMs) => {
    if (every === 0) return;
    const isSampled = SAMPLED.test(route);
    if (isSampled && --left > 0) return;
    if (isSampled) left = every;
    else if (SILENT.test(route)) return;
    const ms = Math.round(performance.now() - startedAtMs);
    log.info({ requestId, method, route, status, ms, ...(isSampled ? { oneIn: every } : {}) }, 'answered');
  };
  const middleware: RequestHandler = (req, res, next) => {
    const startedAtMs = performance.now();
    res.once('finish', () => {
      const route = (req.route as { path?: string } | undefined)?.path ?? 'unknown';
      answered(res.locals.requestId as string, req.method, route, res.statusCode, startedAtMs);
    });
    next();
  };
  return { middleware, answered };
}
