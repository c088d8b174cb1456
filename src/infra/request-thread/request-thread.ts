import { type ErrorKind, FlotillaError } from '../../kernel/errors.ts';
import {
  type PreparedRequest,
  prepareRequest,
  type RequestSource,
} from '../../services/intake/prepare-request.ts';

/** An error's class does not survive the way between threads. */
export type ThreadAnswer =
  | { request: PreparedRequest }
  | {
      refused: {
        kind: ErrorKind;
        code: string;
        reason: string;
        details: Record<string, unknown> | undefined;
      };
    };

/** What a thread of the pool does. */
export default function answer(source: RequestSource): ThreadAnswer {
  try {
    return { request: prepareRequest(source) };
  } catch (error) {
    if (!(error instanceof FlotillaError)) throw error;
    const { kind, code, message, details } = error;
    return { refused: { kind, code, reason: message, details } };
  }
}
