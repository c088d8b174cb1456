import { expect, test } from 'vitest';
import { inTurns } from '../../src/kernel/in-turns.ts';

test('gives every item once, in order, and lets others have their turn between the pieces', async () => {
  const items = Array.from({ length: 4500 }, (_, index) => index);
  let turns = 0;
  const others = setInterval(() => (turns += 1), 0);
  const seen: number[] = [];
  const turnsAt: number[] = [];
  for await (const { piece, from } of inTurns(items)) {
    expect(piece[0]).toBe(from);
    seen.push(...piece);
    // Long enough for the interval to be due.
    for (const until = performance.now() + 3; performance.now() < until; );
    turnsAt.push(turns);
  }
  clearInterval(others);
  expect(seen).toEqual(items);
  expect(turnsAt).toHaveLength(3);
  expect(turnsAt[2]).toBeGreaterThan(turnsAt[0] ?? 0);
});

test('gives nothing of nothing', async () => {
  for await (const _ of inTurns([])) expect.unreachable();
});
