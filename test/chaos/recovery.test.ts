import { expect, test } from 'vitest';
import type { Connection } from './history.ts';
import { type Recovery, type RecoveryFacts, recoveries } from './recovery.ts';

const connection = (openedMs: number, closedMs: number | null): Connection => ({
  session: 's1',
  epoch: 1,
  proxy: 0,
  openedMs,
  closedMs,
  replaced: false,
});

/** A message goes out just before Redis is killed at 1,000 ms, which is back at 2,000 ms, and again at 6,500 ms. */
const facts = (over: Partial<RecoveryFacts> = {}): RecoveryFacts => ({
  faults: [{ kind: 'redis killed', startMs: 1000, endMs: 2000, sessions: null }],
  service: { enqueues: [], claims: [], leads: [] },
  arrivals: [],
  attempts: [900, 6500].map((atMs) => ({ atMs, session: 's1', text: 'm' })),
  connections: [connection(0, null)],
  sessions: ['s1'],
  stops: [],
  untilMs: 60_000,
  ...over,
});
const recovery = (over: Partial<RecoveryFacts> = {}): Recovery => recoveries(facts(over))[0] as Recovery;
const maxOf = ({ redelivery, redeliveryWithStart }: Recovery) => [
  redelivery.maxMs,
  redeliveryWithStart.maxMs,
];

test('a worker that lives on has from the end of the fault to send again', () => {
  expect(maxOf(recovery())).toEqual([4500, 4500]);
});

test('one that has to be started has the time in which it is connected; the start counts for itself', () => {
  const connections = [connection(0, 1000), connection(6200, null)];
  expect(maxOf(recovery({ connections }))).toEqual([300, 4500]);
});

test('a connection that was made anew before the end of the fault gives no more time', () => {
  const connections = [connection(0, 1000), connection(1500, null)];
  expect(maxOf(recovery({ connections }))).toEqual([4500, 4500]);
});

test('another start does not excuse the time that was there before it', () => {
  const connections = [connection(0, 6000), connection(6400, null)];
  expect(maxOf(recovery({ connections }))).toEqual([4100, 4500]);
});

test('the time in which a person had stopped the session is not waited for', () => {
  const connections = [connection(0, 2500), connection(6200, null)];
  const stops = [{ session: 's1', fromMs: 2400, untilMs: 6000 }];
  expect(maxOf(recovery({ connections, stops }))).toEqual([800, null]);
});

test('what went out long before the fault, or after its end, was not hit by it', () => {
  const attempts = [700, 2100, 6500].map((atMs, place) => ({ atMs, session: 's1', text: `m${place % 1}` }));
  expect(recovery({ attempts: attempts.slice(0, 1) }).redelivery.maxMs).toBeNull();
  const late = [2100, 6500].map((atMs) => ({ atMs, session: 's1', text: 'm' }));
  expect(recovery({ attempts: late }).redelivery.maxMs).toBeNull();
});

test('a fault that begins before all was well after another one is not measured', () => {
  const faults = [
    { kind: 'redis killed', startMs: 1000, endMs: 2000, sessions: null },
    { kind: 'worker killed', startMs: 20_000, endMs: 20_000, sessions: null },
  ];
  const measured = (backMs: number) => {
    const back = [{ beganMs: backMs, atMs: backMs + 10 }];
    const service = { enqueues: back, claims: [{ beganMs: 2500, atMs: 2510 }], leads: [] };
    return recoveries(facts({ faults, service })).map((each) => each.measured);
  };
  expect(measured(15_000)).toEqual([1, 1]);
  expect(measured(21_000)).toEqual([1, 0]);
});

test('what never came back counts until the end of the load', () => {
  const service = { enqueues: [{ beganMs: 1500, atMs: 1600 }], claims: [], leads: [] };
  const { clients, sessions } = recovery({ service, untilMs: 10_000 });
  expect([clients.maxMs, sessions.maxMs]).toEqual([8000, 8000]);
  // With nearly nothing left of the load, silence says nothing.
  expect(recovery({ untilMs: 4000 }).sessions.maxMs).toBeNull();
});

test('a session counts that was connected when the fault began, not one that an earlier fault had hit', () => {
  const arrivals = [{ atMs: 6500, session: 's1', epoch: 0, id: 'i', to: 't', text: 'm' }];
  expect(recovery({ arrivals }).sessions.maxMs).toBe(4500);
  expect(
    recovery({ arrivals, connections: [connection(0, 1200), connection(6000, null)] }).sessions.maxMs,
  ).toBe(4500);
  expect(
    recovery({ arrivals, connections: [connection(0, 800), connection(6000, null)] }).sessions.maxMs,
  ).toBe(null);
});
