import { hash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { FlotillaError } from '../../kernel/errors.ts';
import { secretMatcher } from '../../kernel/secrets.ts';

export interface WorkerIdentity {
  /** Whom the token is for; null for the shared secret, which may speak for every session. */
  sessionId: string | null;
  /** The epoch within the token; 0 for the shared secret, which is not fenced. */
  epoch: number;
}

export interface Authenticator {
  /** @throws FlotillaError 401 */
  management(req: IncomingMessage): void;
  /**
   * @param sessionId the session in the path, or null where the path names none
   * @throws FlotillaError 401 no or wrong secret; 403 the token of another session
   */
  worker(req: IncomingMessage, sessionId: string | null): WorkerIdentity;
}

export interface AuthOptions {
  apiKey: string;
  webhookSecret: string;
  /** Reads a session's own token; null if it is not genuine. */
  verifyToken(token: string): { sessionId: string; epoch: number } | null;
  /** Counts a wrong key. @throws FlotillaError 429 when there were too many from this address */
  onFailure(req: IncomingMessage): void;
}

const TOKENS_REMEMBERED = 20_000;

export function createAuthenticator(options: AuthOptions): Authenticator {
  const isApiKey = secretMatcher(options.apiKey);
  const isWebhookSecret = secretMatcher(options.webhookSecret);
  /** Digest → identity, of tokens that are genuine: a token never changes its meaning. */
  const genuine = new Map<string, WorkerIdentity>();

  const refuse = (req: IncomingMessage, code: string, reason: string): FlotillaError => {
    options.onFailure(req);
    return new FlotillaError('unauthenticated', code, reason);
  };

  /** The one value of a header. Node joins repeated ones, and a joined value would be compared as if it were one. */
  const only = (req: IncomingMessage, header: string): string => {
    const joined = req.headers[header];
    if (typeof joined === 'string' && joined !== '' && !joined.includes(',')) return joined;
    const values = req.headersDistinct[header] ?? [];
    if (values.length > 1)
      throw refuse(req, 'duplicate_key', `The header ${header} is there more than once.`);
    const value = values[0];
    // Nobody guesses by saying nothing: this is not counted.
    if (!value) throw new FlotillaError('unauthenticated', 'missing_key', `The header ${header} is missing.`);
    return value;
  };

  const identityOf = (token: string): WorkerIdentity | null => {
    const digest = hash('sha256', token, 'base64');
    const known = genuine.get(digest);
    if (known) return known;
    const identity = options.verifyToken(token);
    if (!identity) return null;
    if (genuine.size >= TOKENS_REMEMBERED) genuine.clear();
    genuine.set(digest, identity);
    return identity;
  };

  return {
    management(req) {
      if (!isApiKey(only(req, 'x-api-key'))) {
        throw refuse(req, 'wrong_key', 'The header x-api-key does not hold a valid key.');
      }
    },
    worker(req, sessionId) {
      const secret = only(req, 'x-webhook-secret');
      if (isWebhookSecret(secret)) return { sessionId: null, epoch: 0 };
      const token = identityOf(secret);
      if (!token) throw refuse(req, 'wrong_key', 'The header x-webhook-secret does not hold a valid secret.');
      if (sessionId !== null && token.sessionId !== sessionId) {
        throw new FlotillaError('forbidden', 'wrong_session', 'This token belongs to another session.');
      }
      return token;
    },
  };
}
