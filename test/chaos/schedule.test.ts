import { expect, test } from 'vitest';
import { FAULTS } from './faults.ts';
import { seeded } from './random.ts';
import { type FaultOptions, planFaults } from './schedule.ts';

const KINDS = Object.keys(FAULTS);
const options = (over: Partial<FaultOptions> = {}): FaultOptions => ({
  seconds: 450,
  faults: 100,
  kinds: [],
  oneByOne: false,
  say: () => undefined,
  ...over,
});

test('in a full run each kind comes by itself once, and then at least once among the others', () => {
  const planned = planFaults(seeded(7), options());
  expect(planned).toHaveLength(100);
  const alone = planned.filter(({ solitary }) => solitary).map(({ kind }) => kind);
  expect(alone.toSorted()).toEqual(KINDS.toSorted());
  const storm = planned.filter(({ solitary }) => !solitary).map(({ kind }) => kind);
  expect(new Set(storm)).toEqual(new Set(KINDS));
});

test('the same seed gives the same faults with the same chances, another one gives others', () => {
  expect(planFaults(seeded(7), options())).toEqual(planFaults(seeded(7), options()));
  expect(planFaults(seeded(8), options())).not.toEqual(planFaults(seeded(7), options()));
});

test('a short run has no time for solitude, and one by one is nothing else', () => {
  expect(planFaults(seeded(7), options({ faults: 13 })).some(({ solitary }) => solitary)).toBe(false);
  const lonely = planFaults(seeded(7), options({ faults: 5, kinds: ['redis killed'], oneByOne: true }));
  expect(lonely.every(({ solitary, kind }) => solitary && kind === 'redis killed')).toBe(true);
});
