import { describe, expect, test } from 'vitest';
import type { FleetAction, FleetFacts, PlannedSession, PlannedWorker } from '../../src/domain/fleet-model.ts';
import { unknownReason } from '../../src/domain/unknown-worker.ts';
import { actions, beat, worker as runningWorker, session } from './planned-fleet.ts';

const WHY = 'the node b, where it runs, does not answer';
const worker = (over: Partial<PlannedWorker> = {}): PlannedWorker =>
  runningWorker({ node: 'b', unknown: WHY, ...over });
const ended = { code: 1, signal: null, cause: null, lastLines: [] };
/** The last sign of life was long ago. */
const planned = (sessions: PlannedSession[], workers: PlannedWorker[], over: Partial<FleetFacts> = {}) =>
  actions(sessions, workers, { ...beat(500_000), ...over });
const explained: FleetAction = { type: 'explain', sessionId: 's1', reason: unknownReason(WHY) };

describe('a worker of which nothing is known', () => {
  test.each<[string, PlannedSession, PlannedWorker, FleetAction[]]>([
    ['is not silent', session(), worker(), [explained]],
    ['said once', session({ reason: unknownReason(WHY) }), worker(), []],
    ['has not ended', session(), worker({ state: 'exited', exit: ended }), [explained]],
    ['is not replaced', session({ generation: 2, state: 'pending' }), worker(), [explained]],
    ['is not stopped', session({ desired: 'stopped' }), worker(), [explained]],
    ['is not deleted', session({ desired: 'deleted' }), worker(), [explained]],
  ])('%s', (_, one, its, expected) => expect(planned([one], [its])).toEqual(expected));

  test('is not stopped if its session is unknown', () => {
    expect(planned([], [worker()])).toEqual([]);
    expect(planned([], [{ ...worker(), unknown: undefined } as unknown as PlannedWorker])).toHaveLength(1);
  });

  test('is nobody any more when it is known again, whatever is to be done then', () => {
    const { unknown: _, ...known } = worker();
    const over: FleetAction = { type: 'explain', sessionId: 's1', reason: null };
    const before = session({ reason: unknownReason(WHY) });
    expect(planned([before], [known], { beatAgeMs: new Map([['s1', 1000]]) })).toEqual([over]);
    expect(planned([before], [{ ...known, state: 'exited', exit: ended }])).toMatchObject([
      over,
      { type: 'restart' },
      { type: 'remove' },
    ]);
    expect(planned([{ ...before, state: 'pending' }], [])).toMatchObject([over, { type: 'start' }]);
    expect(planned([session({ reason: 'something else' })], [known])).not.toContainEqual(over);
  });

  test('keeps sessions from leaving nodes that drain: this is no time for moves', () => {
    const node = (name: string, over = {}) => ({ name, capacity: 9, open: true, draining: false, ...over });
    const nodes = [node('a', { open: false, draining: true }), node('b', { open: false }), node('c')];
    const placement = {
      nodes,
      moves: new Map(),
      proxies: new Map(),
      wishes: new Map(),
      startsUnderWay: new Map(),
    };
    const { unknown: _, ...known } = worker({ sessionId: 's2', node: 'a' });
    const sessions = [session({ reason: unknownReason(WHY) }), session({ id: 's2' })];
    const bindings = new Map([
      ['s1', true],
      ['s2', true],
    ]);
    const over = { placement, bindings, beatAgeMs: new Map([['s2', 1000]]) };
    expect(planned(sessions, [worker(), known], over)).toEqual([]);
    expect(planned(sessions.slice(1), [known], over)).toEqual([
      { type: 'move', sessionId: 's2', fromNode: 'a' },
    ]);
  });
});
