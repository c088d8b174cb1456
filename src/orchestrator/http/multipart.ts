import type { Request, RequestHandler, Response } from 'express';
import { FlotillaError } from '../../kernel/errors.ts';

/**
 * Runs a multipart parser over a body of at most `maxBytes`. Multer tells of its errors only when the whole body has
 * been read, which without an announced length may be never: so the bytes are counted beside it.
 * @param tooLarge makes the error for a body above the limit
 */
export function runMultipart(
  parser: RequestHandler,
  { req, res }: { req: Request; res: Response },
  maxBytes: number,
  tooLarge: () => FlotillaError,
): Promise<void> {
  const { 'content-encoding': coding = 'identity' } = req.headers;
  if (coding !== 'identity') return Promise.reject(compressed(coding));
  // Said before a gigabyte has travelled.
  if (Number(req.headers['content-length'] ?? 0) > maxBytes) return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    void parser(req, res, (error: unknown) => {
      if (error === undefined || error === null) resolve();
      else reject(error instanceof Error ? error : new Error(String(error)));
    });
    let received = 0;
    req.on('data', (chunk: Buffer) => {
      received += chunk.length;
      if (received > maxBytes) reject(tooLarge());
    });
  });
}

const compressed = (coding: string): FlotillaError =>
  new FlotillaError(
    'unsupported_type',
    'unsupported_content_type',
    `A multipart body must come as it is, without Content-Encoding: ${coding.slice(0, 40)}.`,
  );
