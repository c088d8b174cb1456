import { expect, test } from 'vitest';
import { check, type Verdict } from './checker.ts';
import type { AcceptedMessage, Arrival, Connection, History, LedgerRow } from './history.ts';

const message = (place: number, over: Partial<AcceptedMessage> = {}): AcceptedMessage => ({
  text: `m${place}`,
  to: 'r1',
  session: 's1',
  stream: 's1',
  place,
  cancelledMs: null,
  ...over,
});
const row = (text: string, state = 'sent', over: Partial<LedgerRow> = {}): LedgerRow => ({
  taskId: text,
  session: 's1',
  text,
  state,
  reason: null,
  ...over,
});
const arrival = (text: string, atMs: number, over: Partial<Arrival> = {}): Arrival => ({
  atMs,
  session: 's1',
  epoch: 1,
  id: `3EB0${text}`,
  to: 'r1',
  text,
  ...over,
});

/** Three messages, all sent, in order. */
const history = (over: Partial<History> = {}): History => ({
  accepted: [message(1), message(2), message(3)],
  unanswered: new Set(),
  ledger: ['m1', 'm2', 'm3'].map((text) => row(text)),
  arrivals: ['m1', 'm2', 'm3'].map((text, place) => arrival(text, place)),
  connections: [],
  capBreaches: [],
  staleWrites: [],
  inFlightMs: 1000,
  ...over,
});

type Found = { [K in keyof Verdict as Verdict[K] extends string[] ? K : never]: Verdict[K] };
const red = (over: Partial<History>): Partial<Record<keyof Found, number>> => {
  const verdict = check(history(over));
  const found = Object.entries(verdict).flatMap(([name, value]) =>
    Array.isArray(value) && value.length > 0 ? [[name, value.length] as const] : [],
  );
  expect(verdict.ok).toBe(found.length === 0);
  return Object.fromEntries(found);
};

test('a good history is good, also with re-sends under the same id', () => {
  const resent = [...history().arrivals, arrival('m1', 9)];
  expect(check(history({ arrivals: resent }))).toMatchObject({ ok: true, accepted: 3, sent: 3, resent: 1 });
});

test('ack before send: called sent, and never arrived', () => {
  expect(red({ arrivals: [arrival('m1', 0), arrival('m3', 2)] })).toEqual({ lost: 1 });
});

test('a task without an end, or without a row, is lost', () => {
  expect(red({ ledger: [row('m1'), row('m2', 'claimed'), row('m3')] })).toEqual({ lost: 1 });
  expect(red({ ledger: [row('m1'), row('m3')] })).toEqual({ lost: 1 });
});

test('cancelled without having been asked for is lost', () => {
  const ledger = [row('m1'), row('m2', 'cancelled'), row('m3')];
  expect(red({ ledger, arrivals: [arrival('m1', 0), arrival('m3', 1)] })).toEqual({ lost: 1 });
});

test('a cancelled message may still go out while it is in flight, and not later', () => {
  const accepted = [message(1), message(2, { cancelledMs: 100 }), message(3)];
  const ledger = [row('m1'), row('m2', 'cancelled'), row('m3')];
  const at = (ms: number) => [arrival('m1', 0), arrival('m2', ms), arrival('m3', ms + 1)];
  expect(red({ accepted, ledger, arrivals: at(600) })).toEqual({});
  expect(red({ accepted, ledger, arrivals: at(5000) })).toEqual({ unexpected: 1 });
});

test('requeue at the wrong end: the later message arrives first', () => {
  expect(red({ arrivals: [arrival('m2', 0), arrival('m1', 1), arrival('m3', 2)] })).toEqual({
    orderBreaks: 1,
  });
  const others = [arrival('m2', 0, { to: 'r2' }), arrival('m1', 1), arrival('m3', 2)];
  const accepted = [message(1), message(2, { to: 'r2' }), message(3)];
  expect(red({ accepted, arrivals: others })).toEqual({});
});

test('a re-send does not count for the order', () => {
  expect(red({ arrivals: [...history().arrivals, arrival('m1', 7)] })).toEqual({});
});

test('one message under two ids, two messages under one id, two tasks of one message', () => {
  expect(red({ arrivals: [...history().arrivals, arrival('m3', 8, { id: 'other' })] })).toEqual({
    doubles: 1,
  });
  const shared = history().arrivals.map((each) => (each.text === 'm3' ? { ...each, id: '3EB0m2' } : each));
  expect(red({ arrivals: shared })).toEqual({ doubles: 1 });
  expect(red({ ledger: [...history().ledger, row('m3', 'sent', { session: 's1', taskId: 'x' })] })).toEqual({
    doubles: 1,
  });
});

test('what nobody asked for is unexpected; what was asked for and never answered is not', () => {
  const arrivals = [...history().arrivals, arrival('ghost', 9)];
  expect(red({ arrivals })).toEqual({ unexpected: 1 });
  expect(red({ arrivals, unanswered: new Set(['ghost']) })).toEqual({});
  expect(red({ ledger: [...history().ledger, row('ghost')] })).toEqual({ unexpected: 1 });
  expect(red({ ledger: [row('m1', 'sent', { session: 's2' }), row('m2'), row('m3')] })).toEqual({
    unexpected: 1,
  });
});

test('split allocation, release before stop: caps; no epoch check: stale writes; two owners: overlaps', () => {
  expect(red({ capBreaches: ['proxy 3 carried 5'] })).toEqual({ capBreaches: 1 });
  expect(red({ staleWrites: ['claim by epoch 4'] })).toEqual({ staleWrites: 1 });
  const connection: Connection = {
    session: 's1',
    epoch: 1,
    proxy: 0,
    openedMs: 0,
    closedMs: 5,
    replaced: true,
  };
  expect(red({ connections: [connection] })).toEqual({ overlaps: 1 });
});

test('dead without an ack is an end, and counted when it arrived all the same', () => {
  const ledger = [row('m1'), row('m2', 'failed'), row('m3')];
  expect(check(history({ ledger }))).toMatchObject({ ok: true, dead: 1, deadButArrived: 1 });
});
