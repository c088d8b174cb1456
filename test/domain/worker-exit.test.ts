import { expect, test } from 'vitest';
import { backoffMs } from '../../src/domain/backoff.ts';
import { redactLine } from '../../src/domain/redact.ts';
import { describeExit, judgeExit, type WorkerExit } from '../../src/domain/worker-exit.ts';

const POLICY = { quickMs: 60_000, maxQuick: 3, backoff: { firstMs: 1000, maxMs: 60_000, jitter: 0.5 } };
const exit = (code: number | null, signal: string | null = null): WorkerExit => ({
  code,
  signal,
  cause: null,
  lastLines: ['one', 'two', 'three', 'four'],
});

test.each([
  ['first quick crash', exit(1), 500, 0, { verdict: 'restart', crashes: 1, delayMs: 0 }],
  ['second', exit(1), 500, 1, { verdict: 'restart', crashes: 2, delayMs: 2000 }],
  ['third', exit(1), 500, 2, { verdict: 'fail', crashes: 3 }],
  ['third, killed', exit(null, 'SIGKILL'), 500, 2, { verdict: 'fail' }],
  ['after a good run', exit(1), 60_000, 2, { verdict: 'restart', crashes: 0, delayMs: 0 }],
  ['ended by itself', exit(0), 500, 0, { verdict: 'restart', crashes: 1 }],
  ['another owner', exit(4), 500, 2, { verdict: 'fail' }],
  ['bad variables, at once', exit(2), 500, 0, { verdict: 'fail', crashes: 0 }],
  ['logged out', exit(3), 500, 2, { verdict: 'logged_out' }],
  [
    'its node went',
    { ...exit(null), byNode: true },
    500,
    2,
    { verdict: 'restart', crashes: 2, delayMs: 0, blameless: true },
  ],
] as const)('%s', (_, how, ranMs, crashes, expected) => {
  expect(judgeExit(how, ranMs, crashes, POLICY, 0)).toMatchObject(expected);
});

test('the reason names how it ended and its last words, in bounded length', () => {
  expect(describeExit(exit(1))).toBe('worker ended with exit code 1; last lines: two | three | four');
  expect(describeExit(exit(null, 'SIGKILL'))).toContain('killed by SIGKILL');
  expect(describeExit({ ...exit(137), cause: 'out of memory' })).toMatch(/^out of memory/);
  expect(describeExit({ ...exit(1), lastLines: ['x'.repeat(5000)] }).length).toBe(600);
  expect(judgeExit(exit(1), 1, 2, POLICY, 0)).toMatchObject({
    reason: expect.stringMatching(/3 times in a row/),
  });
});

test('back-off doubles up to its limit, and chance only shortens it', () => {
  const policy = POLICY.backoff;
  expect([0, 1, 2, 3, 4, 7, 8, 1000].map((n) => backoffMs(n, policy, 0))).toEqual([
    0, 1000, 2000, 4000, 8000, 60_000, 60_000, 60_000,
  ]);
  expect(backoffMs(2, policy, 0.999)).toBe(1001);
});

test.each([
  ['http://user:pass@host:1080 refused', 'http://***@host:1080 refused'],
  ['token v1~s_1~17~abcDEF-_ sent', 'token *** sent'],
  [`key ${'A1b2'.repeat(12)}= here`, 'key *** here'],
  ['to 972501234567 failed', 'to …4567 failed'],
  ['{"to":"972501234567"}', '{"to":"…4567"}'],
  ['at 2030-01-31T12:00:00.123Z 404 in 1234 ms', 'at 2030-01-31T12:00:00.123Z 404 in 1234 ms'],
])('%s', (line, shown) => {
  expect(redactLine(line)).toBe(shown);
});
