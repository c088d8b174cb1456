import { describe, expect, test } from 'vitest';
import {
  canFollow,
  DESIRED_STATES,
  hasWorker,
  isResting,
  SESSION_STATES,
  type SessionState,
  statesBefore,
  whatSessionWaitsFor,
} from '../../src/domain/session-state.ts';
import { sessionStateSchema } from '../../src/protocol/sessions.ts';

// The whole table, written out a second time: every pair is either allowed here or refused.
const ALLOWED: Record<SessionState, string> = {
  pending: 'starting logged_out stopped failed',
  starting: 'pending pairing connected reconnecting logged_out stopped failed',
  pairing: 'pending starting connected reconnecting logged_out stopped failed',
  connected: 'pending starting reconnecting logged_out stopped failed',
  reconnecting: 'pending starting pairing connected logged_out stopped failed',
  logged_out: 'pending stopped',
  stopped: 'pending',
  failed: 'pending stopped',
};

const pairs = SESSION_STATES.flatMap((from) => SESSION_STATES.map((to) => [from, to] as const));

test.each(pairs)('%s → %s', (from, to) => {
  expect(canFollow(from, to)).toBe(ALLOWED[from].split(' ').includes(to));
  expect(statesBefore(to).includes(from)).toBe(canFollow(from, to));
});

test('the states are those of the contract, and the same on the wire', () => {
  expect(sessionStateSchema.options).toEqual([...SESSION_STATES]);
  expect(Object.keys(ALLOWED)).toEqual([...SESSION_STATES]);
});

describe('kinds of states', () => {
  test('a resting state is left by a start alone, and every state can be reached from every other', () => {
    for (const state of SESSION_STATES.filter(isResting)) {
      expect(SESSION_STATES.filter((to) => canFollow(state, to) && !isResting(to))).toEqual(['pending']);
    }
    for (const start of SESSION_STATES) {
      const reached = new Set<SessionState>([start]);
      for (const state of reached) for (const to of SESSION_STATES) if (canFollow(state, to)) reached.add(to);
      expect(reached.size).toBe(SESSION_STATES.length);
    }
  });

  test('none both rests and works', () => {
    for (const state of SESSION_STATES) expect(isResting(state) && hasWorker(state)).toBe(false);
  });
});

test('what a session waits for is said for every state, and only a connected one waits for nothing', () => {
  for (const desired of DESIRED_STATES) {
    for (const state of SESSION_STATES) {
      const words = whatSessionWaitsFor(state, desired, 'because');
      if (desired === 'running' && state === 'connected') expect(words).toBeNull();
      else expect(words).toMatch(/^(is|was|has) /);
    }
  }
  expect(whatSessionWaitsFor('pairing', 'running', null)).toBe('is pairing: scan the QR');
  expect(whatSessionWaitsFor('reconnecting', 'running', null)).toBe('is reconnecting');
});
