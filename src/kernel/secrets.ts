import { createHash, timingSafeEqual } from 'node:crypto';

/** Compares in constant time, whatever the lengths: both sides are hashed first. */
export function secretsEqual(given: string, expected: string): boolean {
  const a = createHash('sha256').update(given).digest();
  const b = createHash('sha256').update(expected).digest();
  return timingSafeEqual(a, b);
}
