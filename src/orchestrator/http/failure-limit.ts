import type { IncomingMessage } from 'node:http';
import type { RateLimiterMemory } from 'rate-limiter-flexible';
import { FlotillaError } from '../../kernel/errors.ts';

/**
 * Slows down whoever guesses keys: after too many wrong ones an address is answered 429. Right keys are not counted,
 * and pass even then.
 */
export function createFailureLimit(limiter: RateLimiterMemory): (req: IncomingMessage) => void {
  const blockedUntil = new Map<string, number>();
  return (req) => {
    const address = req.socket.remoteAddress ?? 'unknown';
    const until = blockedUntil.get(address);
    if (until !== undefined && until > performance.now()) throw tooMany(until - performance.now());
    blockedUntil.delete(address);
    // In memory: it answers within this turn of the event loop, and the next wrong key sees the result.
    limiter.consume(address).catch((refusal: unknown) => {
      const { msBeforeNext } = refusal as { msBeforeNext?: number };
      if (typeof msBeforeNext === 'number') blockedUntil.set(address, performance.now() + msBeforeNext);
    });
  };
}

const tooMany = (ms: number) =>
  new FlotillaError('too_many', 'too_many_wrong_keys', 'Too many wrong keys from this address; wait.', {
    retryAfterSeconds: Math.max(1, Math.ceil(ms / 1000)),
  });
