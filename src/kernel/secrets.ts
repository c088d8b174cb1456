import { createHash, timingSafeEqual } from 'node:crypto';

/** Compares in constant time, whatever the lengths: both sides are hashed first. */
export function secretsEqual(given: string, expected: string): boolean {
  const a = createHash('sha256').update(given).digest();
  const b = createHash('sha256').update(expected).digest();
  return timingSafeEqual(a, b);
}

/**
 * `secretsEqual` against one secret that is asked for with every request, without the hashing: what is given is laid
 * into as many bytes as the secret has, and those are compared, however many were given.
 */
export function secretMatcher(expected: string): (given: string) => boolean {
  const bytes = Buffer.from(expected);
  const laid = Buffer.alloc(bytes.length);
  return (given) => {
    laid.fill(0);
    laid.write(given);
    const same = timingSafeEqual(laid, bytes);
    return same && Buffer.byteLength(given) === bytes.length;
  };
}
