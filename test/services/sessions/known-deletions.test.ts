import { expect, test } from 'vitest';
import { type Clock, systemClock } from '../../../src/kernel/clock.ts';
import { KnownDeletions } from '../../../src/services/sessions/known-deletions.ts';

/** Stores that say what the test has put there, and a clock that the test moves. */
function remembering() {
  const stored = new Map<string, number>();
  const looks: number[] = [];
  const confirmed: string[] = [];
  const state = { nowMs: 0, failing: false, leaving: [] as string[] };
  const clock: Clock = { ...systemClock, monotonicMs: () => state.nowMs };
  const known = new KnownDeletions({
    store: {
      find: async () => null,
      async beingDeleted() {
        if (state.failing) throw new Error('the store is down');
        return state.leaving;
      },
    },
    deleted: {
      async since(sinceMs) {
        looks.push(sinceMs);
        const all = [...stored].map(([sessionId, atMs]) => ({ sessionId, atMs }));
        return all.filter(({ atMs }) => atMs >= sinceMs);
      },
      async has(sessionId) {
        confirmed.push(sessionId);
        return stored.has(sessionId);
      },
    },
    clock,
  });
  return { known, stored, looks, confirmed, state };
}

test('one look serves all sessions, and who asks on while it is repeated does not wait for it', async () => {
  const { known, stored, looks, confirmed, state } = remembering();
  stored.set('gone', 10_000_000);
  expect(await known.isDeleted('gone')).toBe(true);
  for (let n = 0; n < 100; n++) expect(await known.isDeleted(`s${n}`)).toBe(false);
  expect(looks.length).toBe(1);
  expect(confirmed).toEqual(['gone']);

  stored.set('elsewhere', 10_000_001);
  state.nowMs += 3000;
  expect(await known.isDeleted('elsewhere')).toBe(false);
  await expect.poll(() => known.isDeleted('elsewhere')).toBe(true);
  // From an hour before the newest that is known on: the clocks of two machines differ.
  expect(looks).toEqual([-3_600_000, 10_000_000 - 3_600_000]);
});

test('what is older than five seconds is waited for, and a store that is down is said so', async () => {
  const { known, stored, state } = remembering();
  expect(await known.isDeleted('s')).toBe(false);
  stored.set('s', 1);
  state.nowMs += 5001;
  expect(await known.isDeleted('s')).toBe(true);
  state.failing = true;
  state.nowMs += 3000;
  expect(await known.isDeleted('other')).toBe(false);
  state.nowMs += 3000;
  await expect(known.isDeleted('other')).rejects.toThrow('the store is down');
});

test('what this process deletes is known at once, and what came back is not refused', async () => {
  const { known, stored, looks } = remembering();
  expect(await known.isDeleted('s')).toBe(false);
  known.note('s');
  stored.set('s', 1);
  expect(await known.isDeleted('s')).toBe(true);
  stored.delete('s');
  expect(await known.isDeleted('s')).toBe(false);
  expect(looks.length).toBe(1);
});
