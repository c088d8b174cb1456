import type { RequestListener } from 'node:http';
import express, { type Express, type RequestHandler } from 'express';
import helmet from 'helmet';
import type { FlotillaError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { Authenticator } from './auth.ts';
import { docsPage } from './docs-page.ts';
import { createFail, errorHandler, unknownRoute } from './errors.ts';
import { hotRoutes } from './hot-routes.ts';
import { createHttpMetrics, type HttpMetrics } from './metrics.ts';
import { createRegistry, openApiDocument } from './openapi.ts';
import { requestId } from './request-id.ts';
import { createRequestLog } from './request-log.ts';
import { type RouteModule, Routes, wrongMethod } from './route.ts';

export interface AppOptions {
  modules: RouteModule[];
  auth: Authenticator;
  log: Logger;
  version: string;
  metrics?: HttpMetrics;
  /** One in so many requests of workers and enqueues is logged, and each of all others; 0 or not said: none. */
  logOneIn?: number;
  /** Whether the API's description is for everybody (default), or for holders of the key. */
  publicDocs?: boolean;
  /** Turns a dependency's own error into one that callers may see. */
  classify?: (error: unknown) => FlotillaError | undefined;
}

/** The application, and the listener that puts the hot routes before it. */
export interface App {
  express: Express;
  listener: RequestListener;
}

/** The whole HTTP surface: middleware in order, the modules' routes, documents, and errors last. */
export function createApp(options: AppOptions): App {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  // Keys of Redis hashes and ids come from query values: an object there would be a surprise to everyone.
  app.set('query parser', 'simple');
  const metrics = options.metrics ?? createHttpMetrics();
  app.use(requestId);
  app.use(metrics.middleware);
  const requestLog = createRequestLog({ log: options.log, every: options.logOneIn ?? 0 });
  app.use(requestLog.middleware);
  const secureHeaders = helmet({
    contentSecurityPolicy: {
      directives: { 'upgrade-insecure-requests': null, 'img-src': ["'self'", 'data:'] },
    },
  });
  app.use(secureHeaders);
  const registry = createRegistry();
  const routes = new Routes(registry, options.auth);
  for (const module of options.modules) module(routes);
  routes.refuseOtherMethods();
  app.use(routes.router);
  if (options.publicDocs === false) {
    app.use(['/docs', '/openapi.json'], (req, _res, next) => {
      options.auth.management(req);
      next();
    });
  }
  app.use(['/docs', '/openapi.json'], onlyRead);
  let document: object | undefined;
  app.get('/openapi.json', (_req, res) => {
    document ??= openApiDocument(registry, options.version);
    res.json(document);
  });
  app.use('/docs', docsPage());
  app.use(unknownRoute);
  const fail = createFail(options.log, options.classify ?? (() => undefined));
  app.use(errorHandler(fail));
  const listener = hotRoutes({
    routes: routes.hot,
    otherwise: app,
    secureHeaders,
    metrics,
    requestLog,
    fail,
  });
  return { express: app, listener };
}

const onlyRead: RequestHandler = (req, res, next) => {
  if (req.method === 'GET' || req.method === 'HEAD') {
    next();
    return;
  }
  const allow = 'GET, HEAD, OPTIONS';
  res.setHeader('Allow', allow);
  if (req.method !== 'OPTIONS') throw wrongMethod(req.method, req.baseUrl, allow);
  res.status(204).end();
};
