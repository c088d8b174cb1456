/** The classes of failure. The HTTP layer turns each into one status; nothing else decides a status. */
export type ErrorKind =
  | 'invalid' // 400
  | 'unauthenticated' // 401
  | 'forbidden' // 403
  | 'not_found' // 404
  | 'wrong_method' // 405
  | 'conflict' // 409
  | 'too_large' // 413
  | 'unsupported_type' // 415
  | 'too_many' // 429
  | 'unavailable'; // 503

export interface FlotillaErrorOptions {
  /** Seconds after which trying again makes sense; sent as `Retry-After`. */
  retryAfterSeconds?: number;
  /** Extra, non-personal facts for the answer's body (numbers, names of fields). */
  details?: Record<string, unknown>;
  cause?: unknown;
}

/**
 * An error that a caller may see: a stable `code` in snake_case and one sentence for a person.
 * Anything else that is thrown is a bug and becomes a 500 without details.
 */
export class FlotillaError extends Error {
  readonly kind: ErrorKind;
  readonly code: string;
  readonly retryAfterSeconds: number | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(kind: ErrorKind, code: string, reason: string, options: FlotillaErrorOptions = {}) {
    super(reason, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'FlotillaError';
    this.kind = kind;
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.details = options.details;
  }

  /** Whether the same call may succeed later without being changed. */
  get retryable(): boolean {
    return this.kind === 'unavailable' || this.kind === 'too_many';
  }
}

export const invalid = (code: string, reason: string, options?: FlotillaErrorOptions) =>
  new FlotillaError('invalid', code, reason, options);
export const notFound = (code: string, reason: string, options?: FlotillaErrorOptions) =>
  new FlotillaError('not_found', code, reason, options);
export const conflict = (code: string, reason: string, options?: FlotillaErrorOptions) =>
  new FlotillaError('conflict', code, reason, options);
export const unavailable = (code: string, reason: string, options?: FlotillaErrorOptions) =>
  new FlotillaError('unavailable', code, reason, { retryAfterSeconds: 2, ...options });

/** The message of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export const isAbortError = (error: unknown): boolean =>
  error instanceof Error && (error.name === 'AbortError' || error.name === 'TimeoutError');
