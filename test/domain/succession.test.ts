import { describe, expect, test } from 'vitest';
import type {
  PlacementFacts,
  PlannedMove,
  PlannedSession,
  PlannedWorker,
} from '../../src/domain/fleet-model.ts';
import { actions, beat, session, worker } from './planned-fleet.ts';

const node = (name: string, over: Partial<PlacementFacts['nodes'][number]> = {}) => ({
  name,
  capacity: 10,
  open: true,
  draining: false,
  ...over,
});
const move = (generation: number, to: string | null): PlannedMove => ({ generation, node: to, ageMs: 0 });

/** The session runs on `a`; there are `a` and `b`. */
function planned(
  asked: PlannedMove | null,
  over: {
    session?: Partial<PlannedSession>;
    worker?: Partial<PlannedWorker>;
    nodes?: PlacementFacts['nodes'];
    starting?: number;
    busy?: boolean;
  } = {},
): unknown[] {
  const placement: PlacementFacts = {
    nodes: over.nodes ?? [node('a'), node('b')],
    moves: new Map(asked === null ? [] : [['s1', asked]]),
    proxies: new Map(),
    wishes: new Map(),
    startsUnderWay: new Map(Array.from({ length: over.starting ?? 0 }, (_, n) => [`other${n}`, 'b'])),
  };
  const facts = { ...beat(1000), placement, ...(over.busy ? { busy: new Set(['s1']) } : {}) };
  return actions([session(over.session)], [worker({ node: 'a', ...over.worker })], facts);
}

const replace = (to: string) => [{ type: 'replace', sessionId: 's1', node: to }];
const stay = [{ type: 'stay', sessionId: 's1', reason: 'no other node takes it' }];

describe('a session that is asked to go elsewhere', () => {
  test('gets a successor there while its worker goes on', () => {
    expect(planned(move(2, 'b'))).toEqual(replace('b'));
    expect(
      planned(move(2, null), { nodes: [node('a', { open: false, draining: true }), node('b')] }),
    ).toEqual(replace('b'));
    // One that an earlier runner has prepared is no hindrance.
    expect(planned(move(2, 'b'), { worker: { successor: 9 } })).toEqual(replace('b'));
  });

  test('waits for its turn, as a start does', () => {
    expect(planned(move(2, 'b'), { starting: 4 })).toEqual([]);
    expect(planned(move(2, 'b'), { busy: true })).toEqual([]);
    expect(planned(move(2, 'b'), { session: { state: 'starting' } })).toEqual([]);
  });

  test('stays where it is if there is no room elsewhere', () => {
    expect(planned(move(2, 'b'), { nodes: [node('a'), node('b', { open: false })] })).toEqual(stay);
    expect(
      planned(move(2, 'b'), { nodes: [node('a', { open: false }), node('b', { capacity: 0 })] }),
    ).toEqual(stay);
  });

  test('is not touched while nobody can tell how its worker is', () => {
    const unknown = { worker: { unknown: 'a is silent' } };
    expect(planned(move(2, 'b'), unknown)).toMatchObject([{ type: 'explain' }]);
  });

  test('is stopped like any other when the move is under way already', () => {
    const begun = { session: { generation: 2 } };
    expect(planned(move(2, 'b'), begun)).toMatchObject([{ type: 'stop', cause: 'outdated' }, {}]);
  });
});

test('a successor that nobody waits for any more goes', () => {
  const left = { worker: { successor: 9 } };
  const discard = [{ type: 'discard', sessionId: 's1' }];
  expect(planned(null, left)).toEqual(discard);
  expect(planned(move(1, 'b'), left)).toEqual(discard);
  expect(planned(null)).toEqual([]);
  // With the worker itself it goes anyway.
  expect(planned(null, { ...left, session: { desired: 'stopped' } })).toMatchObject([{ type: 'stop' }]);
});
