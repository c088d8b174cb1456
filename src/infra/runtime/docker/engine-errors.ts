import { FlotillaError, messageOf, unavailable } from '../../../kernel/errors.ts';

/** The status with which an engine answered; null when there was no answer, and nothing is known. */
export function statusOf(error: unknown): number | null {
  const status = (error as { statusCode?: unknown } | null)?.statusCode;
  return typeof status === 'number' ? status : null;
}

/** The engine's own words, without what the client puts around them. */
export function reasonOf(error: unknown): string {
  const { json, reason } = error as { json?: { message?: unknown }; reason?: unknown };
  if (typeof json?.message === 'string') return json.message;
  return typeof reason === 'string' && statusOf(error) === null ? reason : messageOf(error);
}

/** No answer becomes an error of ours that can be tried again; an answer stays what it is. */
export function explained(error: unknown, host: string): unknown {
  if (error instanceof FlotillaError || statusOf(error) !== null) return error;
  return unavailable('engine_unreachable', `The Docker engine ${host} does not answer: ${messageOf(error)}`, {
    cause: error,
  });
}
