import type { RequestHandler } from 'express';
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';

export interface HttpMetrics {
  readonly registry: Registry;
  readonly middleware: RequestHandler;
  /** Counts a request that has been answered. `route` is the pattern, never the path. */
  answered(method: string, route: string, status: number, startedAtMs: number): void;
}

interface RequestCount {
  method: string;
  status: number;
  count: number;
}

/** Process metrics, and every request by method, route and status. */
export function createHttpMetrics(): HttpMetrics {
  const registry = new Registry();
  // The delay of the event loop by ten samples a second: a hundred of them are a sixth of what an idle process costs.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  // Counted here, and told when somebody asks: to look a set of labels up costs more than to count.
  const counted = new Map<string, RequestCount[]>();
  new Counter({
    name: 'flotilla_http_requests_total',
    help: 'Requests by method, route and status.',
    labelNames: ['method', 'route', 'status'] as const,
    registers: [registry],
    collect() {
      for (const [route, counts] of counted) {
        for (const each of counts) {
          const { method, status, count } = each;
          if (count > 0) this.inc({ method, route, status }, count);
          each.count = 0;
        }
      }
    },
  });
  const count = (method: string, route: string, status: number): void => {
    const counts = counted.get(route);
    const known = counts?.find((each) => each.status === status && each.method === method);
    if (known) known.count += 1;
    else if (counts) counts.push({ method, status, count: 1 });
    else counted.set(route, [{ method, status, count: 1 }]);
  };
  const duration = new Histogram({
    name: 'flotilla_http_request_duration_seconds',
    help: 'Time to answer, without the long polls.',
    labelNames: ['method', 'route'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [registry],
  });
  const answered = (method: string, route: string, status: number, startedAtMs: number): void => {
    count(method, route, status);
    if (!WAITING_ROUTE.test(route)) {
      duration.observe({ method, route }, (performance.now() - startedAtMs) / 1000);
    }
  };
  const middleware: RequestHandler = (req, res, next) => {
    const startedAtMs = performance.now();
    res.once('finish', () => {
      // The pattern, never the path: ids in labels would grow without bound.
      const route = (req.route as { path?: string } | undefined)?.path ?? 'unknown';
      answered(req.method, route, res.statusCode, startedAtMs);
    });
    next();
  };
  return { registry, middleware, answered };
}

/** What waits for something to come says nothing about our speed. */
const WAITING_ROUTE = /\/outbox\/(claim|next)$|^\/api\/events$/;
