import { describe, expect, test } from 'vitest';
import type { FleetAction, FleetFacts, PlannedSession, PlannedWorker } from '../../src/domain/fleet-model.ts';
import { actions, beat, NOW, session, unbound, worker } from './planned-fleet.ts';

const exited = (over: Partial<PlannedWorker> = {}): PlannedWorker =>
  worker({
    state: 'exited',
    ranMs: 500,
    exit: { code: 1, signal: null, cause: null, lastLines: ['boom'] },
    ...over,
  });

const s = { sessionId: 's1' };

describe('a session that is wanted', () => {
  test.each<[string, PlannedSession, PlannedWorker[], Partial<FleetFacts>, object[]]>([
    ['is left alone while its worker lives', session(), [worker()], beat(5000), []],
    ['is bound first', session({ state: 'pending' }), [], unbound, [{ type: 'allocate', ...s }]],
    ['is started then', session({ state: 'pending' }), [], {}, [{ type: 'start', ...s }]],
    ['waits for its back-off', session({ state: 'pending', notBeforeMs: NOW + 500 }), [], {}, []],
    [
      'starts after it',
      session({ state: 'pending', notBeforeMs: NOW - 1 }),
      [],
      {},
      [{ type: 'start', ...s }],
    ],
    [
      'does not wait for another clock',
      session({ state: 'pending', notBeforeMs: NOW + 3_600_000 }),
      [],
      {},
      [{ type: 'start', ...s }],
    ],
    ['whose worker vanished', session(), [], {}, [{ type: 'settle', state: 'pending' }]],
    [
      'whose worker crashed',
      session(),
      [exited()],
      {},
      [{ type: 'restart', crashes: 1, delayMs: 0 }, { type: 'remove' }],
    ],
    [
      'whose worker crashed a third time',
      session({ crashes: 2 }),
      [exited()],
      {},
      [{ type: 'fail', crashes: 3 }, { type: 'remove' }],
    ],
    [
      'whose worker was logged out',
      session(),
      [exited({ exit: { code: 3, signal: null, cause: null, lastLines: [] } })],
      {},
      [{ type: 'settle', state: 'logged_out' }, { type: 'remove' }],
    ],
    ['whose ended worker is an older one', session(), [exited({ epoch: 6 })], {}, [{ type: 'remove' }]],
    [
      'with an older epoch running',
      session(),
      [worker({ epoch: 6 })],
      {},
      [
        { type: 'stop', cause: 'outdated' },
        { type: 'settle', state: 'pending' },
      ],
    ],
    [
      'whose worker was given up as gone and is there after all',
      session({ state: 'pending' }),
      [worker()],
      beat(1000),
      [{ type: 'stop', cause: 'outdated' }],
    ],
    [
      'that lost its binding',
      session(),
      [worker()],
      { ...beat(1), ...unbound },
      [{ type: 'stop' }, { type: 'settle', state: 'pending' }],
    ],
    [
      'that was restarted',
      session({ generation: 2 }),
      [worker()],
      beat(1),
      [
        { type: 'stop', cause: 'outdated' },
        { type: 'settle', state: 'pending' },
      ],
    ],
    [
      'whose worker is silent',
      session(),
      [worker()],
      beat(31_000),
      [
        { type: 'restart', silent: true },
        { type: 'stop', cause: 'silent' },
      ],
    ],
    [
      'whose silence nobody listened to',
      session(),
      [worker()],
      { ...beat(31_000), observingForMs: 10_000 },
      [],
    ],
    ['whose worker is still starting', session({ state: 'starting' }), [worker({ ranMs: 59_000 })], {}, []],
    [
      'whose worker never said a word',
      session({ state: 'starting' }),
      [worker({ ranMs: 61_000 })],
      {},
      [{ type: 'restart' }, { type: 'stop', cause: 'silent' }],
    ],
    [
      'that is to be bound anew',
      session({ state: 'pending', hasProxy: false }),
      [],
      {},
      [{ type: 'release', keepProfile: true }],
    ],
    [
      'without a proxy by wish is started',
      session({ state: 'pending', hasProxy: false, direct: true }),
      [],
      { bindings: new Map([['s1', false]]) },
      [{ type: 'start' }],
    ],
    ['with something under way', session(), [exited()], { busy: new Set(['s1']) }, []],
  ])('%s', (_, row, workers, over, expected) => {
    const planned = actions([row], workers, over);
    expect(planned).toHaveLength(expected.length);
    expect(planned).toMatchObject(expected);
  });
});

describe('a session whose worker may run for another orchestrator', () => {
  const ownOnly = (deafForMs: number, over: Partial<FleetFacts> = {}): Partial<FleetFacts> => ({
    deafForMs,
    ...over,
  });
  test.each<[string, PlannedSession, Partial<FleetFacts>, object[]]>([
    ['is left alone while it is heard of', session(), ownOnly(0, beat(16_000)), []],
    [
      'is started anew when it must have cut itself off',
      session(),
      ownOnly(0, beat(17_001)),
      [{ type: 'settle' }],
    ],
    ['is started anew when its end is known', session(), ownOnly(0), [{ type: 'settle' }]],
    ['is waited for after a takeover', session(), ownOnly(8000, { observingForMs: 7999 }), []],
    [
      'is not waited for any longer',
      session(),
      ownOnly(8000, { observingForMs: 8000 }),
      [{ type: 'settle' }],
    ],
    ['is not stopped for it', session({ desired: 'stopped' }), ownOnly(0, beat(1000)), []],
    [
      'had none',
      session({ state: 'pending' }),
      ownOnly(8000, { ...beat(1000), observingForMs: 0 }),
      [{ type: 'start' }],
    ],
  ])('%s', (_, row, over, expected) => {
    const planned = actions([row], [], over);
    expect(planned).toHaveLength(expected.length);
    expect(planned).toMatchObject(expected);
  });
});

describe('a session that is not wanted', () => {
  test.each<[string, PlannedSession, PlannedWorker[], Partial<FleetFacts>, object[]]>([
    [
      'is stopped',
      session({ desired: 'stopped' }),
      [worker()],
      beat(1),
      [{ type: 'stop', cause: 'unwanted' }],
    ],
    [
      'settles and gives its proxy back',
      session({ desired: 'stopped' }),
      [],
      {},
      [
        { type: 'settle', state: 'stopped' },
        { type: 'release', keepProfile: true },
      ],
    ],
    ['keeps its proxy while a worker lives elsewhere', session({ desired: 'deleted' }), [], beat(1000), []],
    [
      'is erased when that one is silent',
      session({ desired: 'deleted' }),
      [],
      beat(31_000),
      [{ type: 'release', keepProfile: false }, { type: 'erase' }],
    ],
    ['is erased without a binding', session({ desired: 'deleted' }), [], unbound, [{ type: 'erase' }]],
    [
      'and was logged out gives its proxy back',
      session({ state: 'logged_out' }),
      [],
      {},
      [{ type: 'release', keepProfile: true }],
    ],
    ['and failed is not started again', session({ state: 'failed' }), [], unbound, []],
    [
      'and failed has its worker stopped',
      session({ state: 'failed' }),
      [worker()],
      beat(1),
      [{ type: 'stop' }],
    ],
    [
      'is unlinked first if asked for',
      session({ desired: 'deleted', logout: true }),
      [worker()],
      beat(1),
      [{ type: 'unlink' }],
    ],
    [
      'is not waited for when it cannot be reached',
      session({ desired: 'deleted', logout: true }),
      [worker()],
      {},
      [{ type: 'stop' }],
    ],
    [
      'is not waited for longer than it may take',
      session({ desired: 'deleted', logout: true }),
      [worker()],
      { ...beat(1), unlinkingForMs: new Map([['s1', 26_000]]) },
      [{ type: 'stop' }],
    ],
    ['has its ended worker removed', session({ desired: 'stopped' }), [exited()], {}, [{ type: 'remove' }]],
  ])('%s', (_, row, workers, over, expected) => {
    const planned = actions([row], workers, over);
    expect(planned).toHaveLength(expected.length);
    expect(planned).toMatchObject(expected);
  });
});

describe('starts are staggered', () => {
  const waiting = Array.from({ length: 8 }, (_, n) => session({ id: `w${n}`, state: 'pending' }));
  const bindings = new Map(['s1', ...waiting.map(({ id }) => id)].map((id) => [id, true]));
  const count = (planned: FleetAction[]) => planned.filter(({ type }) => type === 'start').length;

  test('four at once, less those that are starting', () => {
    expect(count(actions(waiting, [], { bindings }))).toBe(4);
    expect(count(actions(waiting, [], { bindings, startsUnderWay: 3 }))).toBe(1);
    const starting = [session({ state: 'starting' }), ...waiting];
    expect(count(actions(starting, [worker({ ranMs: 1000 })], { bindings }))).toBe(3);
  });

  test('a worker that has been heard, or is not heard for long, no longer counts', () => {
    const starting = [session({ state: 'starting' }), ...waiting];
    expect(count(actions(starting, [worker({ ranMs: 1000 })], { bindings, ...beat(10) }))).toBe(4);
    expect(count(actions(starting, [worker({ ranMs: 16_000 })], { bindings }))).toBe(4);
  });
});

describe('what belongs to no session', () => {
  test('workers are stopped and removed', () => {
    expect(actions([], [worker()])).toMatchObject([{ type: 'stop', cause: 'unwanted' }]);
    expect(actions([], [exited()])).toMatchObject([{ type: 'remove' }]);
  });

  test('bindings are released after a grace, and only when nothing of them lives', () => {
    const orphan = (ms: number) => ({ orphanForMs: new Map([['s1', ms]]) });
    expect(actions([], [], orphan(59_000))).toEqual([]);
    expect(actions([], [], orphan(60_000))).toEqual([{ type: 'release', ...s, keepProfile: false }]);
    expect(actions([], [], { ...orphan(60_000), ...beat(10) })).toEqual([]);
    expect(actions([], [worker()], orphan(60_000))).toMatchObject([{ type: 'stop' }]);
  });
});
