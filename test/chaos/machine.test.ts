import { expect, test } from 'vitest';
import { machineBetween, processors } from './machine.ts';

test('it says how much was idle and how much was stolen', () => {
  const before = { total: 1000, idle: 500, stolen: 10 };
  expect(machineBetween(before, { total: 2000, idle: 600, stolen: 310 })).toContain(
    '10 % idle, and 30 % taken',
  );
  expect(machineBetween(null, before)).toContain('not known');
  expect(machineBetween(before, before)).toContain('not known');
});

test.runIf(process.platform === 'linux')('the system tells of its processors', () => {
  const now = processors();
  expect(now?.total).toBeGreaterThan(now?.idle ?? 0);
  expect(now?.idle).toBeGreaterThan(0);
});
