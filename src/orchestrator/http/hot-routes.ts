import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { parse as parseQuery } from 'node:querystring';
import type { Request, RequestHandler, Response } from 'express';
import { isSessionId } from '../../protocol/common.ts';
import { type Fail, malformedJson } from './errors.ts';
import type { HttpMetrics } from './metrics.ts';
import { answerWriter } from './plain-answer.ts';
import { requestIdOf } from './request-id.ts';
import type { RequestLog } from './request-log.ts';
import { JsonText, Reply, type ServedRoute } from './route.ts';

export interface HotRoutesOptions {
  /** By path as in OpenAPI; the session's id is all that varies in it. */
  routes: ReadonlyMap<string, ServedRoute>;
  /** Express: for everything else, and for every request that is out of the ordinary. */
  otherwise: RequestListener;
  secureHeaders: RequestHandler;
  metrics: HttpMetrics;
  requestLog: RequestLog;
  fail: Fail;
}

const PATH = /^(\/api\/(?:worker\/)?sessions\/)([\w.:@-]{1,128})(\/outbox\/[a-z]+)(?:\?([^#]*))?$/;
const PLAIN_JSON = /^application\/json(?:; ?charset=utf-8)?$/i;

/**
 * The few routes that are called for every message, beside Express's router, which costs more than they do. The
 * rules are the same because the code is: authentication, validation and handler are those of the route, errors and
 * metrics those of the frame, and the security headers are what the middleware gives. Only reading a plain JSON body
 * and writing a JSON answer are done here; whatever looks unusual goes to Express untouched.
 */
export function hotRoutes(options: HotRoutesOptions): RequestListener {
  const { routes, otherwise, metrics, requestLog, fail } = options;
  const fixed = headersOf(options.secureHeaders);
  const write = answerWriter(fixed);
  const find = finder(routes);

  const serve = async (hot: Found, req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const startedAtMs = performance.now();
    const { route } = hot;
    let requestId = '';
    try {
      const worker = route.authenticate(req, hot.id);
      const body = route.readsBody ? await readJson(req) : undefined;
      const answer = await route.call({
        params: { id: hot.id },
        query: hot.query,
        body,
        // They are born with Express's prototypes.
        req: req as Request,
        res: res as Response,
        worker,
      });
      if (answer === undefined) return;
      // Not before it is told: what requests hold while they wait is copied by the collector of garbage.
      requestId = requestIdOf(req);
      const { status, body: told } =
        answer instanceof Reply ? answer : { status: route.successStatus, body: answer };
      write(res, status, requestId, told instanceof JsonText ? told.text : JSON.stringify(told));
    } catch (error) {
      requestId ||= requestIdOf(req);
      if (!res.headersSent) {
        for (let at = 0; at < fixed.length; at += 2) res.setHeader(fixed[at] ?? '', fixed[at + 1] ?? '');
        res.setHeader('X-Request-ID', requestId);
      }
      fail(error, req, res, { requestId, route: route.path });
    }
    if (!res.headersSent) return;
    metrics.answered('POST', route.path, res.statusCode, startedAtMs);
    requestLog.answered(requestId, 'POST', route.path, res.statusCode, startedAtMs);
  };

  return (req, res) => {
    const hot = find(req);
    if (hot) void serve(hot, req, res);
    else otherwise(req, res);
  };
}

interface Found {
  route: ServedRoute;
  id: string;
  query: unknown;
}

/** Finds the route of a request; none for whatever is not plainly for one of the hot ones. */
function finder(routes: ReadonlyMap<string, ServedRoute>): (req: IncomingMessage) => Found | undefined {
  const queryOf = queryReader();
  return (req) => {
    if (req.method !== 'POST') return undefined;
    const match = PATH.exec(req.url ?? '');
    if (!match) return undefined;
    const [, before = '', id = '', after = '', text = ''] = match;
    const route = routes.get(`${before}{id}${after}`);
    if (!route || !isSessionId(id)) return undefined;
    if (route.readsBody && !isPlainJson(req, route.bodyLimit)) return undefined;
    const query = queryOf(route, text);
    return query && { route, id, query: query.checked };
  };
}

const QUERIES_KEPT = 500;

/** Workers ask for the same over and over. What it gives is shared, and not to be changed; none for a wrong query. */
function queryReader(): (route: ServedRoute, text: string) => { checked: unknown } | undefined {
  const known = new Map<ServedRoute, Map<string, { checked: unknown }>>();
  return (route, text) => {
    const queries = known.get(route);
    let query = queries?.get(text);
    if (query) return query;
    try {
      query = { checked: route.checkQuery(parseQuery(text)) };
    } catch {
      // Express checks it once more, and says what is wrong.
      return undefined;
    }
    if (!queries || queries.size >= QUERIES_KEPT) known.set(route, new Map([[text, query]]));
    else queries.set(text, query);
    return query;
  };
}

function isPlainJson({ headers }: IncomingMessage, limit: number): boolean {
  const length = Number(headers['content-length'] ?? 0);
  return (
    length > 0 &&
    length <= limit &&
    headers['content-encoding'] === undefined &&
    PLAIN_JSON.test(headers['content-type'] ?? '')
  );
}

/** Settles never when the client goes away before its body is here: there is nobody to answer. */
function readJson(req: IncomingMessage): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
      const text = bytes.toString('utf8');
      // The request keeps them for as long as it lives.
      chunks.length = 0;
      try {
        resolve(JSON.parse(text.charCodeAt(0) === 0xfeff ? text.slice(1) : text));
      } catch (error) {
        reject(malformedJson(error));
      }
    });
  });
}

/** What the middleware sets on every answer, as pairs in one list. */
function headersOf(middleware: RequestHandler): string[] {
  const headers = new Map<string, string>();
  const response = {
    setHeader: (name: string, value: string) => headers.set(name, value),
    removeHeader: (name: string) => headers.delete(name),
  };
  middleware({} as Request, response as unknown as Response, () => undefined);
  return [...headers].flat();
}
