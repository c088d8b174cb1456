import type { IncomingMessage } from 'node:http';
import type { RequestHandler } from 'express';
import { newRequestId } from '../../kernel/ids.ts';

const SANE = /^[\w.:@-]{1,128}$/;

/** The caller's `X-Request-ID` if it is sane, else a new one. */
export function requestIdOf(req: IncomingMessage): string {
  const given = req.headers['x-request-id'];
  return typeof given === 'string' && SANE.test(given) ? given : newRequestId();
}

/** Gives each request its id, and says it in the answer. */
export const requestId: RequestHandler = (req, res, next) => {
  const id = requestIdOf(req);
  res.locals.requestId = id;
  res.setHeader('X-Request-ID', id);
  next();
};
