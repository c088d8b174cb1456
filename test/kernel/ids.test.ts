import { expect, test } from 'vitest';
import { ID_PATTERN, newTaskId } from '../../src/kernel/ids.ts';

test('ids of tasks are in the order of their time, down to the millisecond, and for centuries', () => {
  const times = [0, 1, 31, 32, 1_795_000_000_000, 1_795_000_000_001, 32 ** 9 - 1];
  const ids = times.map((ms) => newTaskId(ms));
  expect(ids.toSorted()).toEqual(ids);
  expect(newTaskId(times[4]).slice(0, 14)).toBe(ids[4]?.slice(0, 14));
  expect(newTaskId() > (ids[4] ?? '')).toBe(true);
});

test('within a millisecond they differ, and each may stand wherever an id may', () => {
  const ids = Array.from({ length: 100_000 }, () => newTaskId(1_795_000_000_000));
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.every((id) => id.length === 25 && ID_PATTERN.test(id))).toBe(true);
});
