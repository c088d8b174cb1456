import type { IncomingMessage } from 'node:http';
import type { OpenAPIRegistry, RouteConfig } from '@asteasolutions/zod-to-openapi';
import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import { z } from 'zod';
import { FlotillaError, invalid } from '../../kernel/errors.ts';
import { errorBody } from '../../protocol/common.ts';
import { ruleInWords } from '../../protocol/rule-words.ts';
import type { Authenticator, WorkerIdentity } from './auth.ts';
import { limitBody } from './body-limit.ts';

/** Who may call: people and their software; workers; anybody. */
export type Audience = 'management' | 'worker' | 'public';

export interface RouteSpec<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> {
  method: 'get' | 'post' | 'put' | 'delete';
  /** As in OpenAPI: `/api/sessions/{id}`. */
  path: string;
  tag: string;
  summary: string;
  description?: string;
  audience: Audience;
  params?: P;
  query?: Q;
  /** JSON body. Routes that read another kind of body leave it out and set `consumes`. */
  body?: B;
  /** Whether `body` would let this pass as it is, if that is cheaper told; where it says no, `body` decides. */
  isPlain?: (body: unknown) => boolean;
  /** Bytes of JSON accepted, 1 MiB unless told. */
  bodyLimit?: number;
  /** For the OpenAPI document of routes that parse their body themselves. */
  consumes?: { contentType: string; schema: z.ZodType }[];
  /** The answer, for the OpenAPI document. */
  response?: z.ZodType;
  /** Other content types of the answer. */
  produces?: string[];
  successStatus?: number;
  /** Statuses that callers have to expect besides 400, 401, 429, 503 and, with a body, 413 and 415. */
  errors?: number[];
  /** Served beside Express's router when the request is an ordinary one; see hot-routes.ts. */
  hot?: boolean;
}

/** A route as both ways of serving it see it: what is left is to read the request and to write the answer. */
export interface ServedRoute {
  /** In Express's notation, which is also the label of the metrics. */
  path: string;
  readsBody: boolean;
  bodyLimit: number;
  successStatus: number;
  /** @throws FlotillaError 401, 403, 429 */
  authenticate(req: IncomingMessage, sessionId: unknown): WorkerIdentity;
  /** @throws FlotillaError 400 */
  checkParams(params: unknown): unknown;
  /** @throws FlotillaError 400 */
  checkQuery(query: unknown): unknown;
  /**
   * Validates the body and handles; params and query have been checked.
   * @throws FlotillaError 400 and whatever the handler throws
   */
  call(input: RouteContext<unknown, unknown, unknown>): Promise<Answer> | Answer;
}

export interface RouteContext<P, Q, B> {
  params: P;
  query: Q;
  body: B;
  req: Request;
  res: Response;
  /** Of worker routes: whose token it is. */
  worker: WorkerIdentity;
}

/** An answer with another status than the route's usual one. */
export class Reply {
  readonly status: number;
  readonly body: unknown;
  constructor(status: number, body: unknown) {
    this.status = status;
    this.body = body;
  }
}

/** A body that is JSON already. */
export class JsonText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** What a handler gives back: the JSON body, also as text, a `Reply`, or nothing when it has answered by itself. */
export type Answer = object | JsonText | Reply | undefined;

export type RouteModule = (routes: Routes) => void;

export const wrongMethod = (method: string, path: string, allow: string): FlotillaError =>
  new FlotillaError('wrong_method', 'method_not_allowed', `${method} is not for ${path}; allowed: ${allow}.`);

const NO_WORKER: WorkerIdentity = { sessionId: null, epoch: 0 };
const DEFAULT_BODY_LIMIT = 1024 * 1024;

/** Collects routes: each spec gives the Express route, its validation and its OpenAPI entry at once. */
export class Routes {
  readonly router: Router = express.Router();
  readonly registry: OpenAPIRegistry;
  /** By path as in OpenAPI; all are POST. */
  readonly hot = new Map<string, ServedRoute>();
  readonly #auth: Authenticator;
  readonly #methods = new Map<string, Set<string>>();

  constructor(registry: OpenAPIRegistry, auth: Authenticator) {
    this.registry = registry;
    this.#auth = auth;
  }

  add<
    P extends z.ZodType = z.ZodUnknown,
    Q extends z.ZodType = z.ZodUnknown,
    B extends z.ZodType = z.ZodUnknown,
  >(
    spec: RouteSpec<P, Q, B>,
    handler: (context: RouteContext<z.infer<P>, z.infer<Q>, z.infer<B>>) => Promise<Answer> | Answer,
  ): void {
    const path = spec.path.replaceAll(/\{(\w+)\}/g, ':$1');
    const methods = this.#methods.get(path) ?? new Set();
    this.#methods.set(path, methods.add(spec.method.toUpperCase()));
    const served: ServedRoute = {
      path,
      readsBody: spec.body !== undefined,
      bodyLimit: spec.bodyLimit ?? DEFAULT_BODY_LIMIT,
      successStatus: spec.successStatus ?? 200,
      authenticate: (req, sessionId) => this.#authenticate(spec.audience, req, sessionId),
      checkParams: (params) => parse(spec.params, params, 'path'),
      checkQuery: (query) => parse(spec.query, query, 'query'),
      call: (input) => {
        if (!spec.isPlain?.(input.body)) input.body = parse(spec.body, input.body, 'body');
        return handler(input as RouteContext<z.infer<P>, z.infer<Q>, z.infer<B>>);
      },
    };
    if (spec.hot) this.hot.set(spec.path, served);
    const parseBody = served.readsBody ? [jsonParser(served.bodyLimit)] : [];
    const authenticate = (req: Request, res: Response, next: NextFunction): void => {
      res.locals.worker = served.authenticate(req, req.params.id);
      next();
    };
    this.router[spec.method](path, authenticate, ...parseBody, async (req: Request, res: Response) => {
      const answer = await served.call({
        params: served.checkParams(req.params),
        query: served.checkQuery(req.query),
        body: req.body as unknown,
        req,
        res,
        worker: res.locals.worker as WorkerIdentity,
      });
      if (answer === undefined) return;
      if (answer instanceof Reply) res.status(answer.status).json(answer.body);
      else if (answer instanceof JsonText) res.status(served.successStatus).type('json').send(answer.text);
      else res.status(served.successStatus).json(answer);
    });
    this.registry.registerPath(openApiEntry(spec));
  }

  /** After every `add`: another method on a known path is answered 405 with `Allow`, not as an unknown path. */
  refuseOtherMethods(): void {
    for (const [path, methods] of this.#methods) {
      const allow = [...methods, ...(methods.has('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ');
      this.router.all(path, (req: Request, res: Response) => {
        res.setHeader('Allow', allow);
        if (req.method === 'OPTIONS') res.status(204).end();
        else throw wrongMethod(req.method, req.path, allow);
      });
    }
  }

  #authenticate(audience: Audience, req: IncomingMessage, sessionId: unknown): WorkerIdentity {
    if (audience === 'management') this.#auth.management(req);
    if (audience !== 'worker') return NO_WORKER;
    return this.#auth.worker(req, typeof sessionId === 'string' ? sessionId : null);
  }
}

function jsonParser(limit: number) {
  const parser = limitBody(express.json({ limit, strict: false }), limit);
  return (req: Request, res: Response, next: NextFunction): void => {
    const isEmpty = req.headers['content-length'] === '0';
    if (!isEmpty && req.is('application/json') === false) {
      next(
        new FlotillaError(
          'unsupported_type',
          'unsupported_content_type',
          'The body must be application/json.',
        ),
      );
      return;
    }
    parser(req, res, next);
  };
}

/** @throws FlotillaError `invalid_request`, naming the first field that breaks a rule */
function parse(schema: z.ZodType | undefined, value: unknown, where: string): unknown {
  if (!schema) return value;
  const result = schema.safeParse(value, { error: ruleInWords });
  if (result.success) return result.data;
  throw invalidRequest(result.error, where);
}

export function invalidRequest(error: z.ZodError, where: string): FlotillaError {
  const issue = error.issues[0];
  const field = issue ? fieldOf(issue.path) : '';
  const rule = issue?.message ?? 'is not valid';
  const reason = field ? `${field}: ${rule}` : `The ${where} ${rule}`;
  return invalid('invalid_request', reason, field ? { details: { field } } : {});
}

/** `contacts[3].phone` for `['contacts', 3, 'phone']`. */
const fieldOf = (path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text ? `${text}.${String(part)}` : String(part),
    '',
  );

const ERROR_TEXTS: Record<number, string> = {
  400: 'Bad input; the reason names the field.',
  401: 'No key, or a wrong one.',
  403: 'The key does not carry the right.',
  404: 'Unknown.',
  409: 'Conflict, or a cap is reached.',
  413: 'Too large.',
  415: 'Wrong type of content.',
  429: 'Too many requests; see Retry-After.',
  503: 'A dependency is down; see Retry-After.',
};

function openApiEntry<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType>(
  spec: RouteSpec<P, Q, B>,
): RouteConfig {
  const errors = new Set([
    400,
    ...(spec.audience === 'public' ? [] : [401, 429]),
    ...(spec.body || spec.consumes ? [413, 415] : []),
    ...(spec.errors ?? []),
    503,
  ]);
  const content = spec.consumes
    ? Object.fromEntries(spec.consumes.map((c) => [c.contentType, { schema: c.schema }]))
    : spec.body
      ? { 'application/json': { schema: spec.body } }
      : undefined;
  return {
    method: spec.method,
    path: spec.path,
    tags: [spec.tag],
    summary: spec.summary,
    ...(spec.description ? { description: spec.description } : {}),
    security: spec.audience === 'public' ? [] : [{ [spec.audience]: [] }],
    request: {
      ...(spec.params instanceof z.ZodObject ? { params: spec.params } : {}),
      ...(spec.query instanceof z.ZodObject ? { query: spec.query } : {}),
      ...(content ? { body: { content } } : {}),
    },
    responses: {
      [spec.successStatus ?? 200]: {
        description: 'Done.',
        content: {
          ...(spec.response ? { 'application/json': { schema: spec.response } } : {}),
          ...Object.fromEntries(
            (spec.produces ?? []).map((type) => [type, { schema: { type: 'string' as const } }]),
          ),
        },
      },
      ...Object.fromEntries(
        [...errors].map((status) => [
          status,
          {
            description: ERROR_TEXTS[status] ?? 'Error.',
            content: { 'application/json': { schema: errorBody } },
          },
        ]),
      ),
    },
  };
}
