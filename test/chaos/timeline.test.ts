import { expect, test } from 'vitest';
import type { Connection } from './history.ts';
import type { Recovery } from './recovery.ts';
import type { LogLine } from './run-logs.ts';
import { explain, type TimelineFacts } from './timeline.ts';

const NONE = { p50Ms: null, maxMs: null };
const recovery = (waits: Recovery['waits']): Recovery => ({
  kind: 'worker killed',
  count: 1,
  measured: 1,
  clients: NONE,
  claims: NONE,
  lead: NONE,
  sessions: NONE,
  redelivery: NONE,
  redeliveryWithStart: NONE,
  waits,
});
const connection = (session: string, openedMs: number, closedMs: number | null): Connection => ({
  session,
  epoch: 1,
  proxy: 0,
  openedMs,
  closedMs,
  replaced: false,
});
const state = (atMs: number, to: string): LogLine => ({ atMs, session: 's1', state: to, what: `a: ${to}` });
const arrival = (session: string, text: string, atMs: number) => ({
  atMs,
  session,
  epoch: 1,
  id: text,
  to: '1',
  text,
});

/** The worker of s1 is killed at 1,000 ms, while s2 has nothing to do. */
const facts: TimelineFacts = {
  arrivals: [arrival('s1', 'm1', 4500), arrival('s2', 'm2', 6000)],
  connections: [connection('s1', 0, 1000), connection('s1', 3900, null), connection('s2', 0, null)],
  stories: [
    { session: 's1', text: 'm1', queuedMs: 1500, claimedMs: 4400 },
    { session: 's2', text: 'm2', queuedMs: 5990, claimedMs: 5995 },
    // Never sent, and so no reason for anything.
    { session: 's2', text: 'cancelled', queuedMs: 1200, claimedMs: null },
  ],
  logs: [state(0, 'connected'), state(1200, 'pending'), state(2200, 'starting'), state(4000, 'connected')],
};
const waits: Recovery['waits'] = [
  { session: 's2', startMs: 1000, endMs: 1000, nextMs: 6000 },
  { session: 's1', startMs: 1000, endMs: 1000, nextMs: 4500 },
];

test('it tells what the session waited for that was held up the longest, not of one with nothing to send', () => {
  const [explained] = explain([recovery(waits)], facts);
  expect(explained?.slowest).toMatchObject({ session: 's1', waitMs: 3500, heldUpMs: 3000 });
  expect(explained?.slowest?.parts).toEqual({
    'no connection': 200,
    'not started': 1000,
    start: 1700,
    claim: 500,
    send: 100,
  });
  expect(explained?.heldUp).toEqual({ p50Ms: 10, maxMs: 3000 });
});

test('the timeline has what was seen of the session and of all, from the end of the fault', () => {
  const everywhere: LogLine = {
    atMs: 1100,
    session: null,
    state: null,
    what: 'b: this runner leads the fleet',
  };
  const elsewhere: LogLine = { atMs: 1100, session: 's2', state: null, what: 'b: another session' };
  const [explained] = explain([recovery(waits)], { ...facts, logs: [...facts.logs, everywhere, elsewhere] });
  const lines = explained?.slowest?.timeline.map(({ atMs, what }) => `${atMs} ${what}`) ?? [];
  expect(lines).toEqual([
    '-1000 connected to WhatsApp (epoch 1)',
    '-1000 a: connected',
    '0 the fault begins',
    '0 the fault is put right',
    '0 connection ends (epoch 1)',
    '100 b: this runner leads the fleet',
    '200 a: pending',
    '500 m1 queued',
    '1200 a: starting',
    '2900 connected to WhatsApp (epoch 1)',
    '3000 a: connected',
    '3400 m1 claimed',
    '3500 m1 arrives',
  ]);
});

test('without a session that counts there is nothing to tell', () => {
  expect(explain([recovery([])], facts)).toEqual([{ kind: 'worker killed', heldUp: NONE, slowest: null }]);
});
