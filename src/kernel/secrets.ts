import { createHash, hash, timingSafeEqual } from 'node:crypto';

/** Compares in constant time, whatever the lengths: both sides are hashed first. */
export function secretsEqual(given: string, expected: string): boolean {
  const a = createHash('sha256').update(given).digest();
  const b = createHash('sha256').update(expected).digest();
  return timingSafeEqual(a, b);
}

/** `secretsEqual` against one secret that is asked for again and again: its own side is hashed once. */
export function secretMatcher(expected: string): (given: string) => boolean {
  const digest = hash('sha256', expected, 'buffer');
  return (given) => timingSafeEqual(hash('sha256', given, 'buffer'), digest);
}
