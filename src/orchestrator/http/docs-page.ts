import express, { type Router } from 'express';
// Not the package itself: in Node that loads the page's whole program, for nothing.
import absolutePath from 'swagger-ui-dist/absolute-path.js';

const PAGE = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Flotilla API</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>`;

const START = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true });`;

/** The API's page, from files of our own: nothing is loaded from elsewhere. */
export function docsPage(): Router {
  const router = express.Router();
  router.get('/', (_req, res) => void res.type('html').send(PAGE));
  router.get('/start.js', (_req, res) => void res.type('js').send(START));
  router.use(express.static(absolutePath(), { index: false, maxAge: '1d' }));
  return router;
}
