import { expect, test } from 'vitest';
import { retryDelayMs } from '../../src/worker/retry-delay.ts';

test('it doubles up to a second, half of it by chance', () => {
  const ranges = [1, 2, 3, 4, 5, 1000].map((failures) => {
    const tries = Array.from({ length: 500 }, () => retryDelayMs(failures, 200));
    return [Math.min(...tries), Math.max(...tries)];
  });
  const full = [200, 400, 800, 1000, 1000, 1000];
  for (const [index, [least = 0, most = 0]] of ranges.entries()) {
    const limit = full[index] ?? 0;
    expect(least).toBeGreaterThanOrEqual(limit / 2);
    expect(least).toBeLessThan(limit * 0.6);
    expect(most).toBeLessThanOrEqual(limit);
    expect(most).toBeGreaterThan(limit * 0.9);
  }
});
