import express, { type Request, type Response } from 'express';
import multer, { MulterError } from 'multer';
import { FlotillaError, invalid } from '../../../kernel/errors.ts';
import { MAX_IMAGE_BYTES, MAX_MESSAGE_BODY_BYTES } from '../../../protocol/messages.ts';
import type { RequestSource } from '../../../services/intake/prepare-request.ts';
import { limitBody } from '../body-limit.ts';
import { runMultipart } from '../multipart.ts';

export interface MessageBody {
  /** The JSON of the request, not parsed yet. */
  source: Pick<RequestSource, 'text' | 'place'>;
  image: Uint8Array | null;
}

const json = limitBody(
  express.text({ type: 'application/json', limit: MAX_MESSAGE_BODY_BYTES }),
  MAX_MESSAGE_BODY_BYTES,
);

// In memory: a request that breaks off leaves nothing behind, and a whole image is needed to tell its type.
const multipart = multer({
  storage: multer.memoryStorage(),
  limits: {
    fileSize: MAX_IMAGE_BYTES,
    files: 2,
    fields: 8,
    parts: 10,
    fieldSize: MAX_MESSAGE_BODY_BYTES,
    headerPairs: 50,
  },
  // Many clients send a part with JSON in it as a file.
}).fields([
  { name: 'image', maxCount: 1 },
  { name: 'data', maxCount: 1 },
]);

const MAX_MULTIPART_BYTES = MAX_IMAGE_BYTES + MAX_MESSAGE_BODY_BYTES + 64 * 1024;

const imageOrDataTooLarge = (): FlotillaError =>
  new FlotillaError('too_large', 'body_too_large', 'The body is larger than image and data together may be.');

/**
 * Reads a message request: JSON, or multipart with `data` and `image`.
 * @throws FlotillaError `malformed_multipart`, `image_too_large`, `body_too_large`, `unsupported_content_type`; what
 *   the body parser throws is turned into the same further up
 */
export async function readMessageBody(req: Request, res: Response): Promise<MessageBody> {
  if (req.is('application/json')) {
    checkCharset(req.get('content-type') ?? '');
    await run(json, req, res);
    // No body at all is no object, either.
    const text = (req.body as string | undefined) ?? 'null';
    return { source: { text: text === '' ? '{}' : text, place: 'body' }, image: null };
  }
  if (!req.is('multipart/form-data')) {
    throw new FlotillaError(
      'unsupported_type',
      'unsupported_content_type',
      'The body must be application/json or multipart/form-data.',
    );
  }
  try {
    await runMultipart(multipart, { req, res }, MAX_MULTIPART_BYTES, () => imageOrDataTooLarge());
  } catch (error) {
    throw multipartError(error);
  }
  const files = (req.files ?? {}) as Record<string, Express.Multer.File[] | undefined>;
  const field = (req.body as Record<string, unknown> | undefined)?.data;
  return {
    source: { text: dataOf(field ?? files.data?.[0]?.buffer.toString('utf8')), place: 'data' },
    image: files.image?.[0]?.buffer ?? null,
  };
}

function dataOf(data: unknown): string {
  if (data === undefined) throw invalid('invalid_request', 'data is missing', { details: { field: 'data' } });
  // The same field twice comes as a list.
  if (typeof data === 'string') return data;
  throw invalid('invalid_request', 'data must be there exactly once', { details: { field: 'data' } });
}

/** JSON is Unicode by definition. */
function checkCharset(contentType: string): void {
  const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(contentType)?.[1];
  if (charset === undefined || /^utf-/i.test(charset)) return;
  throw new FlotillaError(
    'unsupported_type',
    'unsupported_content_type',
    `unsupported charset "${charset.toUpperCase()}"`,
  );
}

type Middleware = (req: Request, res: Response, next: (error?: unknown) => void) => void;

const run = (middleware: Middleware, req: Request, res: Response): Promise<void> =>
  new Promise((resolve, reject) => {
    middleware(req, res, (error) => {
      if (error === undefined || error === null) resolve();
      else reject(error instanceof Error ? error : new Error(String(error)));
    });
  });

function multipartError(error: unknown): FlotillaError {
  if (error instanceof FlotillaError) return error;
  if (error instanceof MulterError) {
    switch (error.code) {
      case 'LIMIT_FILE_SIZE':
        return new FlotillaError(
          'too_large',
          'image_too_large',
          `${error.field ?? 'image'} must have at most 10 MB`,
          {
            details: { field: error.field ?? 'image' },
          },
        );
      case 'LIMIT_FIELD_VALUE':
        return new FlotillaError('too_large', 'body_too_large', 'data is larger than this endpoint accepts', {
          details: { field: 'data' },
        });
      case 'LIMIT_UNEXPECTED_FILE':
      case 'LIMIT_FILE_COUNT':
        return invalid(
          'invalid_request',
          'There may be one file, in the field image, and the JSON in the field data.',
          {
            details: { field: 'image' },
          },
        );
      default:
        return invalid('malformed_multipart', `The multipart body is not acceptable: ${error.message}.`);
    }
  }
  // The parser's own errors say what it stumbled over; all of them are about the body.
  return invalid('malformed_multipart', 'The multipart body is broken or breaks off.', { cause: error });
}
