import { describe, expect, it } from 'vitest';
import { JOB_STATES, jobMove, jobProgress, jobTotals } from '../../src/domain/job-state.ts';

describe('jobMove', () => {
  it.each([
    ['pause', ['to paused', 'to paused', 'to paused', 'already', 'refused', 'refused']],
    ['resume', ['already', 'already', 'already', 'to running', 'refused', 'refused']],
    ['cancel', ['to cancelled', 'to cancelled', 'to cancelled', 'to cancelled', 'refused', 'already']],
    ['retry-failed', ['already', 'already', 'already', 'refused', 'to running', 'refused']],
  ] as const)('%s', (action, expected) => {
    const moves = JOB_STATES.map((state) => jobMove(action, state));
    expect(moves.map((move) => (move.kind === 'move' ? `to ${move.to}` : move.kind))).toEqual(expected);
  });
});

describe('jobTotals', () => {
  it('counts each message exactly once, also those without a row', () => {
    const counts = new Map([
      ['accepted', 1],
      ['queued', 2],
      ['claimed', 3],
      ['sent', 4],
      ['delivered', 5],
      ['read', 6],
      ['failed', 7],
      ['cancelled', 8],
    ]);
    const totals = jobTotals('running', 100, counts);
    expect(totals).toEqual({ queued: 70, sent: 4, delivered: 5, read: 6, failed: 7, cancelled: 8 });
    expect(Object.values(totals).reduce((a, b) => a + b)).toBe(100);
  });

  it('counts what was never expanded of a cancelled job as cancelled', () => {
    expect(jobTotals('cancelled', 10, new Map([['sent', 4]]))).toMatchObject({
      queued: 0,
      sent: 4,
      cancelled: 6,
    });
  });
});

describe('jobProgress', () => {
  const totals = { queued: 50, sent: 25, delivered: 15, read: 5, failed: 5, cancelled: 0 };
  it('tells the rest of the time from the present rate', () => {
    expect(jobProgress(totals, 100, 100)).toEqual({ percent: 50, etaSeconds: 30 });
  });
  it('does not guess while nothing is being sent', () => {
    expect(jobProgress(totals, 100, 0).etaSeconds).toBeNull();
  });
  it('says 100 only when everything has an end', () => {
    expect(jobProgress({ ...totals, queued: 1 }, 100_000, 60).percent).toBe(99.9);
    expect(jobProgress({ ...totals, queued: 0 }, 100, 60)).toEqual({ percent: 100, etaSeconds: 0 });
  });
});
