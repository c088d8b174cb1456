import { expect, test } from 'vitest';
import { DEFAULT_FLEET_POLICY } from '../../../src/domain/fleet-model.ts';
import { unavailable } from '../../../src/kernel/errors.ts';
import { StartFailures } from '../../../src/services/fleet/start-failures.ts';

const policy = { ...DEFAULT_FLEET_POLICY.crash, backoff: { firstMs: 1000, maxMs: 60_000, jitter: 0 } };

test('what is no fault of the session is tried again, with growing pauses, for as long as it takes', () => {
  const failures = new StartFailures(policy);
  const down = unavailable('engine_unreachable', 'The Docker engine a does not answer.');
  const tries = Array.from({ length: 10 }, () => failures.judge('s1', 2, down));
  expect(tries.map((each) => each.verdict)).toEqual(Array(10).fill('restart'));
  expect(tries.map((each) => 'delayMs' in each && each.delayMs)).toEqual([
    1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000,
  ]);
  expect(tries[0]).toMatchObject({ crashes: 2, reason: 'The Docker engine a does not answer.' });
  expect(failures.judge('s2', 0, down)).toMatchObject({ delayMs: 1000 });
  failures.forget('s1');
  expect(failures.judge('s1', 0, down)).toMatchObject({ delayMs: 1000 });
});

test('a place is looked for soon again, however often there was none', () => {
  const failures = new StartFailures(policy);
  const full = unavailable('no_place', 'no node takes it');
  for (let tries = 0; tries < 9; tries += 1) failures.judge('s1', 0, full);
  expect(failures.judge('s1', 0, full)).toMatchObject({ verdict: 'restart', delayMs: 5000, blameless: true });
});

test.each([
  unavailable('image_missing', 'it is nowhere'),
  unavailable('worker_not_started', 'no such program'),
  new Error('a bug'),
])('%s would be the same again: it counts, and in the end the session has failed', (error) => {
  const failures = new StartFailures(policy);
  const first = failures.judge('s1', 0, error);
  expect(first).toMatchObject({ verdict: 'restart', crashes: 1 });
  expect(first).not.toHaveProperty('blameless');
  expect(failures.judge('s1', 2, error)).toMatchObject({
    verdict: 'fail',
    reason: expect.stringContaining(`the worker could not be started: ${error.message}`),
  });
});
