import { describe, expect, test } from 'vitest';
import { unknownReason } from '../../src/domain/unknown-worker.ts';
import { chooseCanaries } from '../../src/domain/upgrade-plan.ts';
import { canary, member, NEW, OLD, OPTIONS, onNew, planned, session } from './planned-upgrade.ts';

describe('canaries', () => {
  test('go first, alone', () => {
    const sessions = [session('a'), session('b')];
    expect(planned({ state: 'canary', members: [canary('a', 'waiting')], sessions })).toEqual(['replace a']);
  });

  test('are watched once all are connected, and then the rest follows', () => {
    const members = [canary('a', 'upgraded'), canary('b', 'upgraded')];
    const sessions = [onNew('a'), onNew('b'), session('c')];
    expect(planned({ state: 'canary', members, sessions })).toEqual(['watch']);
    expect(planned({ state: 'canary', members, sessions, watchedMs: 60_000 })).toEqual(['→ rolling']);
    const shaky = [onNew('a'), onNew('b', { state: 'reconnecting' }), session('c')];
    expect(planned({ state: 'canary', members, sessions: shaky })).toEqual([]);
  });

  test('none: the rest follows at once', () => {
    expect(planned({ state: 'canary', sessions: [session('a')] })).toEqual(['→ rolling']);
  });

  test.each([
    ['its worker ended', { unwantedEnds: 4, reason: 'exit 1' }, 'its worker ended (exit 1)'],
    ['twice', { unwantedEnds: 5 }, 'its worker ended 2 times'],
    ['failed', { state: 'failed' as const, reason: 'bad image' }, 'it is failed (bad image)'],
    ['logged out', { state: 'logged_out' as const }, 'it is logged_out'],
    ['to be paired anew', { state: 'pairing' as const }, 'it asks to be paired anew'],
  ])('%s: the upgrade stops', (_, over, reason) => {
    for (const state of ['replacing', 'upgraded'] as const) {
      const facts = { state: 'canary' as const, members: [canary('a', state)], sessions: [onNew('a', over)] };
      expect(planned(facts)).toEqual([`a failed: ${reason}`, `→ failed: canary a: ${reason}`]);
    }
  });

  test('without a connection for too long, or with too many failed messages: the upgrade stops', () => {
    const members = [canary('a', 'upgraded')];
    const late = new Map([['a', 30_001]]);
    const sessions = [onNew('a', { state: 'reconnecting', reason: 'no route' })];
    expect(planned({ state: 'canary', members, sessions, offlineMs: new Map([['a', 29_999]]) })).toEqual([]);
    expect(planned({ state: 'canary', members, sessions, offlineMs: late }).at(-1)).toBe(
      '→ failed: canary a: it was not connected within 30 s (no route)',
    );
    const sends = (count: number) => ({ sessions: [onNew('a')], failedSends: new Map([['a', count]]) });
    const before = [canary('a', 'upgraded', { failedBefore: 5 })];
    expect(planned({ state: 'canary', members: before, ...sends(7) })).toEqual(['watch']);
    expect(planned({ state: 'canary', members: before, ...sends(8) }).at(-1)).toBe(
      '→ failed: canary a: 3 of its messages have failed',
    );
  });

  test('that all prove nothing are a failure, too; one that goes does not hold up the others', () => {
    const gone = [session('a', { desired: 'stopped' })];
    const skipped = 'a skipped: stopped or deleted meanwhile';
    const members = [canary('a', 'replacing')];
    expect(planned({ state: 'canary', members, sessions: gone })).toEqual([
      skipped,
      '→ failed: canary a: stopped or deleted meanwhile',
    ]);
    const two = [...members, canary('b', 'upgraded')];
    expect(planned({ state: 'canary', members: two, sessions: [...gone, onNew('b')] })).toEqual([
      skipped,
      'watch',
    ]);
  });

  test('a rollback is entered if that was asked for', () => {
    const sessions = [onNew('a', { unwantedEnds: 4 })];
    const options = { ...OPTIONS, onFailure: 'rollback' as const };
    expect(planned({ state: 'canary', members: [canary('a', 'replacing')], sessions, options }).at(-1)).toBe(
      '→ rolling_back: canary a: its worker ended',
    );
  });

  test('are chosen among connected ones, from different phones and proxies first', () => {
    const sessions = [
      session('z', { state: 'reconnecting' }),
      session('a', { phone: '1', proxy: 'p' }),
      session('b', { phone: '2', proxy: 'p' }),
      session('c', { phone: '1', proxy: 'q' }),
      session('d', { phone: '3', proxy: 'q' }),
      onNew('e'),
    ];
    expect(chooseCanaries(sessions, NEW, 0)).toEqual([]);
    expect(chooseCanaries(sessions, NEW, 2)).toEqual(['a', 'd']);
    expect(chooseCanaries(sessions, NEW, 3)).toEqual(['a', 'd', 'b']);
    expect(chooseCanaries(sessions, NEW, 9)).toEqual(['a', 'd', 'b', 'c']);
  });
});

describe('the rest', () => {
  test('follows a few at a time, and never two of a phone or a proxy', () => {
    const sessions = [
      session('a', { phone: '1' }),
      session('b', { phone: '1' }),
      session('c', { proxy: 'p' }),
      session('d', { proxy: 'p' }),
      session('e'),
    ];
    expect(planned({ sessions })).toEqual(['replace a', 'replace c']);
    expect(planned({ sessions, options: { ...OPTIONS, parallel: 9 } })).toEqual([
      'replace a',
      'replace c',
      'replace e',
    ]);
    // One that is under way counts, whatever it looks like now.
    const members = [member('a', 'replacing')];
    const moving = [
      onNew('a', { phone: '1', epoch: 10, state: 'pending', workerImage: OLD }),
      ...sessions.slice(1),
    ];
    expect(planned({ sessions: moving, members })).toEqual(['replace c']);
  });

  test('sessions with trouble of their own come last, and prove nothing', () => {
    const sessions = [session('a', { state: 'reconnecting' }), session('b')];
    expect(planned({ sessions, options: { ...OPTIONS, parallel: 1 } })).toEqual(['replace b']);
    const members = [member('a', 'replacing', { wasConnected: false })];
    const late = { offlineMs: new Map([['a', 30_001]]) };
    expect(planned({ members, sessions: [onNew('a', { state: 'reconnecting' })], ...late })).toEqual([
      'a skipped: it was not connected within 30 s',
      '→ done',
    ]);
    expect(planned({ members, sessions: [onNew('a', { state: 'pairing' })] })).toEqual([
      'a upgraded',
      '→ done',
    ]);
  });

  test('a session without a worker only gets the image, and resting ones are left alone', () => {
    const waiting = session('a', { state: 'pending', epoch: 0, workerImage: null });
    const resting = [
      session('b', { desired: 'stopped', state: 'stopped' }),
      session('c', { state: 'failed' }),
    ];
    expect(planned({ sessions: [waiting, ...resting] })).toEqual(['replace a']);
    const after = { ...waiting, image: NEW };
    const members = [member('a', 'skipped', { wasConnected: false })];
    expect(planned({ sessions: [after, ...resting], members })).toEqual(['→ done']);
  });

  test('a worker that is there but not of the new image is not back', () => {
    const members = [member('a', 'replacing')];
    expect(planned({ members, sessions: [session('a', { image: NEW })] })).toEqual([]);
    expect(planned({ members, sessions: [session('a', { image: NEW, epoch: 11 })] })).toEqual([]);
    expect(planned({ members, sessions: [onNew('a')] })).toEqual(['a upgraded', '→ done']);
  });

  test('stops above so many failures, also of one that was fine at first', () => {
    const members = [member('a', 'upgraded'), member('b', 'failed', { reason: 'late' })];
    const sessions = [onNew('a', { unwantedEnds: 4 }), onNew('b'), session('c')];
    const one = { ...OPTIONS, maxFailed: 1 };
    expect(planned({ members, sessions, options: one })).toEqual([
      'a failed: its worker ended',
      '→ failed: session a: its worker ended (and 1 more)',
    ]);
    const others = [onNew('b'), session('c')];
    expect(planned({ members: [member('b', 'failed')], sessions: others, options: one })).toEqual([
      'replace c',
    ]);
  });

  test('waits for what nobody can tell anything about, and blames it for nothing', () => {
    const reason = unknownReason('the engine b is silent');
    const sessions = [session('a', { reason }), session('b')];
    expect(planned({ sessions })).toEqual(['replace b']);
    expect(planned({ sessions: [session('a', { reason })] })).toEqual([]);
    const under = { members: [member('a', 'replacing')], sessions: [session('a', { reason, image: NEW })] };
    expect(planned({ ...under, offlineMs: new Map([['a', 300_000]]) })).toEqual([]);
  });

  test('nothing happens while it is paused, failed, prepared or over', () => {
    for (const state of ['preparing', 'paused', 'failed', 'done', 'rolled_back'] as const) {
      expect(planned({ state, sessions: [session('a')] })).toEqual([]);
    }
  });
});
