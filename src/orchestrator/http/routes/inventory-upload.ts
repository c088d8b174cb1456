import { finished, type Readable } from 'node:stream';
import type { Request, Response } from 'express';
import multer, { MulterError, type StorageEngine } from 'multer';
import { FlotillaError, invalid } from '../../../kernel/errors.ts';
import type { Inventory } from '../../../services/inventory/inventory.ts';
import type { UploadKind, UploadReport } from '../../../services/inventory/ports.ts';
import type { StagedUpload } from '../../../services/inventory/upload.ts';
import { runMultipart } from '../multipart.ts';

const FIELD = 'file';
/** What a multipart body may weigh besides its file. */
const FRAME_BYTES = 64 * 1024;

export interface UploadRequest {
  req: Request;
  res: Response;
  inventory: Inventory;
  kind: UploadKind;
  limitBytes: number;
}

/**
 * Streams the one file of a multipart body into the inventory. The file is staged while it comes in; it is added
 * only when the whole body has arrived and was in order.
 * @throws FlotillaError 400 naming the field, 413 `file_too_large`, 415
 */
export async function receiveUpload(upload: UploadRequest): Promise<UploadReport> {
  const { req, inventory, limitBytes } = upload;
  if (!req.is('multipart/form-data')) {
    throw new FlotillaError(
      'unsupported_type',
      'unsupported_content_type',
      `The body must be multipart/form-data with a field "${FIELD}".`,
    );
  }
  const staging = new StagingEngine(upload);
  try {
    await parse(upload, staging);
  } catch (error) {
    await staging.discard();
    throw asUploadError(error, limitBytes);
  }
  const staged = staging.staged;
  if (!staged) throw invalidFile(`${FIELD}: is missing; send one file in this field.`);
  return inventory.commit(staged);
}

function parse({ req, res, limitBytes }: UploadRequest, storage: StorageEngine): Promise<void> {
  const parser = multer({
    storage,
    limits: { files: 1, fileSize: limitBytes, fields: 20, fieldSize: FRAME_BYTES, parts: 25 },
  }).single(FIELD);
  return runMultipart(parser, { req, res }, limitBytes + FRAME_BYTES, () => tooLarge(limitBytes));
}

/** Multer's place for a file, here the inventory's staging list. */
class StagingEngine implements StorageEngine {
  readonly #upload: UploadRequest;
  staged: StagedUpload | undefined;
  #source: Readable | undefined;
  #staging: Promise<void> | undefined;

  constructor(upload: UploadRequest) {
    this.#upload = upload;
  }

  _handleFile(
    _req: Request,
    file: Express.Multer.File,
    done: (error?: unknown, info?: Partial<Express.Multer.File>) => void,
  ): void {
    const { inventory, kind } = this.#upload;
    this.#source = file.stream;
    this.#staging = inventory.stage(kind, chunksOf(file.stream)).then(
      (staged) => {
        this.staged = staged;
        done(undefined, {});
      },
      (error: unknown) => {
        // Nobody else will read the rest, and the parser waits until somebody has.
        file.stream.resume();
        done(error);
      },
    );
  }

  _removeFile(_req: Request, _file: Express.Multer.File, done: (error: Error | null) => void): void {
    this.discard().then(
      () => done(null),
      (error: Error) => done(error),
    );
  }

  /** Also for a file whose staging ends only after the body was refused. */
  async discard(): Promise<void> {
    // The parser has let go of the body: no further piece of the file would ever come, nor its end.
    this.#source?.destroy(new Error('the body was refused'));
    await this.#staging;
    const staged = this.staged;
    this.staged = undefined;
    if (staged) await this.#upload.inventory.discard(staged);
  }
}

/**
 * The chunks of a stream, each by itself: its own iterator joins those that wait, which leaves twice the memory behind
 * and nobody who could free it. The stream is left alone when the reader turns away: a destroyed one would be an error
 * of its own to the parser.
 */
async function* chunksOf(stream: Readable): AsyncGenerator<Uint8Array> {
  const waiting: Uint8Array[] = [];
  let ended: { error: unknown } | undefined;
  let wake: () => void = () => undefined;
  const onData = (chunk: Uint8Array): void => {
    waiting.push(chunk);
    stream.pause();
    wake();
  };
  const stopWatching = finished(stream, { writable: false }, (error) => {
    ended = { error };
    wake();
  });
  stream.on('data', onData);
  try {
    while (!ended || waiting.length > 0) {
      const chunk = waiting.shift();
      if (chunk) {
        yield chunk;
        continue;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
        stream.resume();
      });
    }
    if (ended.error) throw ended.error;
  } finally {
    stopWatching();
    stream.off('data', onData);
  }
}

function asUploadError(error: unknown, limitBytes: number): unknown {
  if (!(error instanceof MulterError)) {
    if (error instanceof FlotillaError) return error;
    return isMultipartError(error)
      ? invalid('broken_multipart', `${FIELD}: the multipart body is broken or breaks off.`, {
          details: { field: FIELD },
        })
      : error;
  }
  if (error.code === 'LIMIT_FILE_SIZE') return tooLarge(limitBytes);
  if (error.code === 'LIMIT_FILE_COUNT') return invalidFile(`${FIELD}: send one file, not several.`);
  if (error.code === 'LIMIT_UNEXPECTED_FILE') {
    const name = error.field ?? '';
    return invalidFile(
      name === FIELD
        ? `${FIELD}: send one file, not several.`
        : `${name.slice(0, 100)}: unexpected; the file belongs into the field "${FIELD}".`,
    );
  }
  return invalidFile(`${(error.field ?? FIELD).slice(0, 100)}: ${error.message.toLowerCase()}.`);
}

/** Errors of the parser carry no code; their texts are fixed. */
const isMultipartError = (error: unknown): boolean =>
  error instanceof Error &&
  /^(Multipart: |Unexpected end of (form|file|multipart)|Malformed |Missing Content-Type|Unsupported content type|Request (aborted|closed)|Part terminated early)/i.test(
    error.message,
  );

const invalidFile = (reason: string) => invalid('invalid_upload', reason, { details: { field: FIELD } });

const tooLarge = (limitBytes: number) =>
  new FlotillaError('too_large', 'file_too_large', `${FIELD}: must be at most ${limitBytes} bytes.`, {
    details: { limitBytes },
  });
