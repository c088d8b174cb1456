import { describe, expect, test } from 'vitest';
import type { UpgradeSession } from '../../src/domain/upgrade-model.ts';
import { canary, member, onNew, planned, session } from './planned-upgrade.ts';

describe('the way back', () => {
  const state = 'rolling_back' as const;

  test('broken ones first, gently, and what was not touched stays', () => {
    const members = [
      canary('a', 'upgraded'),
      member('b', 'failed'),
      member('c', 'replacing'),
      member('d', 'waiting', { wasConnected: false }),
    ];
    const sessions = [
      onNew('a'),
      onNew('b', { state: 'failed' }),
      onNew('c', { state: 'starting' }),
      session('d'),
      session('e'),
    ];
    expect(planned({ state, members, sessions })).toEqual(['d returned', 'return b', 'return c']);
  });

  test('is over when all are back, with whatever came of it', () => {
    const returning = (id: string) => member(id, 'returning', { epochBefore: 11 });
    const back = (id: string, over: Partial<UpgradeSession> = {}) => session(id, { epoch: 12, ...over });
    const members = [returning('a'), returning('b'), returning('c')];
    expect(
      planned({
        state,
        members,
        sessions: [
          back('a'),
          back('b', { state: 'failed', reason: 'no proxy' }),
          back('c', { state: 'starting' }),
        ],
        offlineMs: new Map([['c', 30_001]]),
      }),
    ).toEqual([
      'a returned',
      'b returned: no proxy',
      'c returned: it was not connected within 30 s',
      '→ rolled_back',
    ]);
    expect(planned({ state, members, sessions: [back('a'), back('b'), onNew('c')] })).toEqual([
      'a returned',
      'b returned',
    ]);
  });

  test('one that was stopped meanwhile only loses the image', () => {
    const members = [member('a', 'upgraded'), member('b', 'upgraded')];
    const sessions = [onNew('a', { desired: 'stopped', state: 'stopped' })];
    expect(planned({ state, members, sessions })).toEqual([
      'b returned: stopped or deleted meanwhile',
      'return a',
    ]);
  });

  test('a device that was unlinked is for a person', () => {
    const sessions = [onNew('a', { state: 'logged_out', image: null })];
    expect(planned({ state, members: [member('a', 'failed')], sessions })).toEqual([
      'a returned',
      '→ rolled_back',
    ]);
  });

  test('of one that was done takes those along that have come since', () => {
    const done = { state, wasDone: true, members: [member('a', 'upgraded')] };
    const sessions = [onNew('a', { image: null }), onNew('new', { image: null }), session('old')];
    expect(planned({ ...done, sessions })).toEqual(['return a', 'return new']);
    expect(planned({ ...done, wasDone: false, sessions })).toEqual(['return a']);
  });
});
