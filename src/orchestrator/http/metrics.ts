import type { RequestHandler } from 'express';
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';

export interface HttpMetrics {
  readonly registry: Registry;
  readonly middleware: RequestHandler;
}

/** Process metrics, and every request by method, route and status. */
export function createHttpMetrics(): HttpMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const requests = new Counter({
    name: 'flotilla_http_requests_total',
    help: 'Requests by method, route and status.',
    labelNames: ['method', 'route', 'status'] as const,
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'flotilla_http_request_duration_seconds',
    help: 'Time to answer, without the long polls.',
    labelNames: ['method', 'route'] as const,
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers: [registry],
  });
  const middleware: RequestHandler = (req, res, next) => {
    const startedAt = performance.now();
    res.once('finish', () => {
      // The pattern, never the path: ids in labels would grow without bound.
      const route = (req.route as { path?: string } | undefined)?.path ?? 'unknown';
      requests.inc({ method: req.method, route, status: res.statusCode });
      if (!route.endsWith('/claim') && route !== '/api/events') {
        duration.observe({ method: req.method, route }, (performance.now() - startedAt) / 1000);
      }
    });
    next();
  };
  return { registry, middleware };
}
