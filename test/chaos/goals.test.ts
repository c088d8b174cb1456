import { expect, test } from 'vitest';
import { missedGoals } from './goals.ts';
import type { Recovery, Times } from './recovery.ts';

const NONE: Times = { p50Ms: null, maxMs: null };
const upTo = (maxMs: number): Times => ({ p50Ms: 1, maxMs });
const recovery = (kind: string, over: Partial<Recovery>): Recovery => ({
  kind,
  count: 1,
  measured: 1,
  clients: NONE,
  claims: NONE,
  lead: NONE,
  sessions: NONE,
  redelivery: NONE,
  redeliveryWithStart: NONE,
  waits: [],
  ...over,
});
const missed = (kind: string, over: Partial<Recovery>, heldUp = NONE) =>
  missedGoals([recovery(kind, over)], [{ kind, heldUp, slowest: null }], 5000).map(({ what }) => what);

test('an orchestrator is back within 2 s, Redis within 5 s, a message within its lease and 2 s', () => {
  const three = { clients: upTo(3000), claims: upTo(1900), lead: upTo(2001) };
  expect(missed('leader killed', three, upTo(2500))).toEqual(['clients', 'lead', 'held up']);
  expect(missed('orchestrator stopped', three)).toEqual(['clients', 'lead']);
  expect(missed('redis tail cut', three, upTo(5001))).toEqual(['held up']);
  expect(missed('worker killed', three, upTo(6900))).toEqual([]);
  expect(missed('worker killed', { redelivery: upTo(7001) }, upTo(7001))).toEqual(['held up', 'redelivery']);
  expect(missed('redis killed', { redelivery: upTo(6900) })).toEqual([]);
});

test('what was not measured misses nothing', () => {
  expect(missed('leader killed', {})).toEqual([]);
});
