import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ErrorRequestHandler, RequestHandler } from 'express';
import { type ErrorKind, FlotillaError, messageOf, notFound } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { ErrorBody } from '../../protocol/common.ts';

/** The one place where a failure becomes an HTTP status. */
const STATUS: Record<ErrorKind, number> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  wrong_method: 405,
  conflict: 409,
  too_large: 413,
  unsupported_type: 415,
  too_many: 429,
  unavailable: 503,
};

export const unknownRoute: RequestHandler = (req) => {
  throw notFound('unknown_route', `There is no ${req.method} ${req.path}.`);
};

/** Answers a request that failed. `route` is its pattern if one matched, else its path. */
export type Fail = (
  error: unknown,
  req: IncomingMessage,
  res: ServerResponse,
  about: { requestId: string; route: string },
) => void;

/**
 * @param classify turns a dependency's own error (Redis gone, SQL full) into a FlotillaError; undefined if it is none
 */
export function createFail(log: Logger, classify: (error: unknown) => FlotillaError | undefined): Fail {
  return (error, req, res, { requestId, route }) => {
    // A client that has gone wants no answer, and nothing went wrong on our side.
    if (req.socket.destroyed && !res.writable) return;
    const known = asFlotillaError(error) ?? classify(error);
    if (!known) {
      log.error({ requestId, method: req.method, path: route, error: stackOf(error) }, 'request failed');
    }
    if (res.headersSent) {
      res.destroy();
      return;
    }
    const body: ErrorBody & Record<string, unknown> = {
      ...known?.details,
      status: 'error',
      code: known?.code ?? 'internal_error',
      reason: known?.message ?? 'Something went wrong on our side; the log has it under this request id.',
      requestId,
    };
    if (known?.retryAfterSeconds !== undefined) res.setHeader('Retry-After', String(known.retryAfterSeconds));
    res.statusCode = known ? STATUS[known.kind] : 500;
    const bytes = Buffer.from(JSON.stringify(body));
    res.setHeader('Content-Type', JSON_TYPE);
    res.setHeader('Content-Length', bytes.length);
    if (req.complete || !hasBody(req)) res.end(bytes);
    else answerEarly(req, res, bytes);
  };
}

export const JSON_TYPE = 'application/json; charset=utf-8';

/** The same for what fails within Express. */
export const errorHandler =
  (fail: Fail): ErrorRequestHandler =>
  (error: unknown, req, res, _next) =>
    fail(error, req, res, {
      requestId: (res.locals.requestId as string | undefined) ?? '',
      route: (req.route as { path?: string } | undefined)?.path ?? req.path,
    });

/** A request that is refused at once is not complete yet, even if nothing more is to come. */
const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;

/** How long the rest of a refused body is still read and thrown away. */
const LINGER_MS = 2_000;

/**
 * Answers a request whose body is still coming. Closing at once would reset the connection under a client that is
 * writing, and it would never see the answer; reading to the end could take a gigabyte. So: answer, read on for a
 * moment, close.
 */
function answerEarly(req: IncomingMessage, res: ServerResponse, bytes: Buffer): void {
  res.setHeader('Connection', 'close');
  res.write(bytes);
  const end = (): void => {
    clearTimeout(timer);
    if (!res.writableEnded) res.end();
  };
  const timer = setTimeout(end, LINGER_MS);
  req.once('end', end);
  res.once('close', end);
  req.resume();
}

const stackOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : messageOf(error);

export const bodyTooLarge = (): FlotillaError =>
  new FlotillaError('too_large', 'body_too_large', 'The body is larger than this endpoint accepts.');

export const malformedJson = (error: unknown): FlotillaError =>
  new FlotillaError(
    'invalid',
    'malformed_json',
    `The body is not valid JSON: ${messageOf(error).slice(0, 120)}`,
  );

/** Errors of Express and its body parser carry a `type` and a `status`. */
function asFlotillaError(error: unknown): FlotillaError | undefined {
  if (error instanceof FlotillaError) return error;
  if (typeof error !== 'object' || error === null) return undefined;
  const { type, status } = error as { type?: string; status?: number };
  switch (type) {
    case 'entity.parse.failed':
      return malformedJson(error);
    case 'entity.too.large':
      return bodyTooLarge();
    case 'encoding.unsupported':
    case 'charset.unsupported':
      return new FlotillaError('unsupported_type', 'unsupported_content_type', messageOf(error));
    case 'request.aborted':
    case 'request.size.invalid':
    case 'entity.verify.failed':
      return new FlotillaError(
        'invalid',
        'broken_body',
        'The body broke off or does not have the length it claims.',
      );
    default:
      if (error instanceof URIError || status === 400) {
        return new FlotillaError('invalid', 'malformed_request', 'The request is malformed.');
      }
      return undefined;
  }
}
