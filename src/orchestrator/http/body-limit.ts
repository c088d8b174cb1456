import type { Request, RequestHandler, Response } from 'express';
import { bodyTooLarge } from './errors.ts';

/**
 * A body parser that refuses what is too large at once. By itself it tells of it only when the whole body has been
 * read, which may be gigabytes later, or never.
 * @param maxBytes as they travel: what is compressed is counted by the parser as well, when it is unpacked
 */
export function limitBody(parser: RequestHandler, maxBytes: number): RequestHandler {
  return (req: Request, res: Response, next) => {
    if (Number(req.headers['content-length'] ?? 0) > maxBytes) {
      next(bodyTooLarge());
      return;
    }
    let isOver = false;
    const once = (error?: unknown): void => {
      if (isOver) return;
      isOver = true;
      if (error === undefined) next();
      else next(error);
    };
    void parser(req, res, once);
    if (req.headers['transfer-encoding'] === undefined) return;
    let received = 0;
    req.on('data', (chunk: Buffer) => {
      received += chunk.length;
      if (received > maxBytes) once(bodyTooLarge());
    });
  };
}
