import express, { type Express } from 'express';
import helmet from 'helmet';
import type { FlotillaError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { Authenticator } from './auth.ts';
import { docsPage } from './docs-page.ts';
import { errorHandler, unknownRoute } from './errors.ts';
import { createHttpMetrics, type HttpMetrics } from './metrics.ts';
import { createRegistry, openApiDocument } from './openapi.ts';
import { requestId } from './request-id.ts';
import { type RouteModule, Routes } from './route.ts';

export interface AppOptions {
  modules: RouteModule[];
  auth: Authenticator;
  log: Logger;
  version: string;
  metrics?: HttpMetrics;
  /** Whether the API's description is for everybody (default), or for holders of the key. */
  publicDocs?: boolean;
  /** Turns a dependency's own error into one that callers may see. */
  classify?: (error: unknown) => FlotillaError | undefined;
}

/** The whole HTTP surface: middleware in order, the modules' routes, documents, and errors last. */
export function createApp(options: AppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  // Keys of Redis hashes and ids come from query values: an object there would be a surprise to everyone.
  app.set('query parser', 'simple');
  const metrics = options.metrics ?? createHttpMetrics();
  app.use(requestId);
  app.use(metrics.middleware);
  app.use(
    helmet({
      contentSecurityPolicy: {
        directives: { 'upgrade-insecure-requests': null, 'img-src': ["'self'", 'data:'] },
      },
    }),
  );
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
  let document: object | undefined;
  app.get('/openapi.json', (_req, res) => {
    document ??= openApiDocument(registry, options.version);
    res.json(document);
  });
  app.use('/docs', docsPage());
  app.use(unknownRoute);
  app.use(errorHandler(options.log, options.classify ?? (() => undefined)));
  return app;
}
