import { expect, test } from 'vitest';
import { secretMatcher, secretsEqual } from '../../src/kernel/secrets.ts';

test.each([
  ['the same', 'geheim-é-1', true],
  ['another of the same length', 'geheim-é-2', false],
  ['a beginning', 'geheim-é', false],
  ['more', 'geheim-é-1x', false],
  ['more, cut within a character', 'geheim-é-1é', false],
  ['nothing', '', false],
  ['with a zero byte', 'geheim-é-1\0', false],
])('%s', (_, given, same) => {
  const matches = secretMatcher('geheim-é-1');
  expect(matches(given)).toBe(same);
  expect(secretsEqual(given, 'geheim-é-1')).toBe(same);
  // What was asked before changes nothing.
  expect(matches('geheim-é-1')).toBe(true);
});
