import { expect, test } from 'vitest';
import type { PlannedSession, PlannedWorker } from '../../src/domain/fleet-model.ts';
import { followerPlan } from '../../src/domain/follower-plan.ts';
import { session, worker } from './planned-fleet.ts';

test.each<[string, PlannedSession | null, PlannedWorker, number, string | null]>([
  ['goes on', session(), worker(), 0, null],
  ['starts', session({ state: 'starting' }), worker(), 0, null],
  ['has ended', session(), worker({ state: 'exited' }), 0, 'remove'],
  ['was replaced', session({ epoch: 8 }), worker(), 0, 'stop'],
  ['is of an older generation', session({ generation: 2 }), worker(), 0, 'stop'],
  ['was given up', session({ state: 'pending' }), worker(), 0, 'stop'],
  ['has no session any more', null, worker(), 0, 'stop'],
  ['is not wanted', session({ desired: 'stopped' }), worker(), 0, 'stop'],
  ['is to unlink its device first', session({ desired: 'deleted', logout: true }), worker(), 100, 'unlink'],
  ['did not unlink it', session({ desired: 'deleted', logout: true }), worker(), 30_000, 'stop'],
])('a worker that %s', (_, row, own, unlinkingForMs, expected) => {
  expect(followerPlan(row, own, unlinkingForMs, { unlinkMs: 25_000 })?.type ?? null).toBe(expected);
});
