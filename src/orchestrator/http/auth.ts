import type { Request } from 'express';
import { FlotillaError } from '../../kernel/errors.ts';
import { secretsEqual } from '../../kernel/secrets.ts';

export interface WorkerIdentity {
  /** Whom the token is for; null for the shared secret, which may speak for every session. */
  sessionId: string | null;
  /** The epoch within the token; 0 for the shared secret, which is not fenced. */
  epoch: number;
}

export interface Authenticator {
  /** @throws FlotillaError 401 */
  management(req: Request): void;
  /**
   * @param sessionId the session in the path, or null where the path names none
   * @throws FlotillaError 401 no or wrong secret; 403 the token of another session
   */
  worker(req: Request, sessionId: string | null): WorkerIdentity;
}

export interface AuthOptions {
  apiKey: string;
  webhookSecret: string;
  /** Reads a session's own token; null if it is not genuine. */
  verifyToken(token: string): { sessionId: string; epoch: number } | null;
  /** Counts a wrong key. @throws FlotillaError 429 when there were too many from this address */
  onFailure(req: Request): void;
}

export function createAuthenticator(options: AuthOptions): Authenticator {
  const refuse = (req: Request, code: string, reason: string): FlotillaError => {
    options.onFailure(req);
    return new FlotillaError('unauthenticated', code, reason);
  };

  /** The one value of a header. Node joins repeated ones, and a joined value would be compared as if it were one. */
  const only = (req: Request, header: string): string => {
    const values = req.headersDistinct[header] ?? [];
    if (values.length > 1)
      throw refuse(req, 'duplicate_key', `The header ${header} is there more than once.`);
    const value = values[0];
    if (!value) throw refuse(req, 'missing_key', `The header ${header} is missing.`);
    return value;
  };

  return {
    management(req) {
      if (!secretsEqual(only(req, 'x-api-key'), options.apiKey)) {
        throw refuse(req, 'wrong_key', 'The header x-api-key does not hold a valid key.');
      }
    },
    worker(req, sessionId) {
      const secret = only(req, 'x-webhook-secret');
      if (secretsEqual(secret, options.webhookSecret)) return { sessionId: null, epoch: 0 };
      const token = options.verifyToken(secret);
      if (!token) throw refuse(req, 'wrong_key', 'The header x-webhook-secret does not hold a valid secret.');
      if (sessionId !== null && token.sessionId !== sessionId) {
        throw new FlotillaError('forbidden', 'wrong_session', 'This token belongs to another session.');
      }
      return token;
    },
  };
}
