import type { RequestHandler } from 'express';
import { newRequestId } from '../../kernel/ids.ts';

const SANE = /^[\w.:@-]{1,128}$/;

/** Takes over the caller's `X-Request-ID` if it is sane, else makes one, and says it in the answer. */
export const requestId: RequestHandler = (req, res, next) => {
  const given = req.headers['x-request-id'];
  const id = typeof given === 'string' && SANE.test(given) ? given : newRequestId();
  res.locals.requestId = id;
  res.setHeader('X-Request-ID', id);
  next();
};
