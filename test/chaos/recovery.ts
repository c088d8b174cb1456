import type { Arrival, Attempt, Connection } from './history.ts';
import type { Service, Success } from './probe.ts';

export interface FaultRecord {
  kind: string;
  startMs: number;
  /** When it was put right; of a kill, the kill itself. */
  endMs: number;
  /** Null: all. */
  sessions: string[] | null;
}

/** A session without a place, by the will of a person. */
export interface SessionStop {
  session: string;
  fromMs: number;
  untilMs: number;
}

export interface Times {
  p50Ms: number | null;
  maxMs: number | null;
}

/** One session's way back: from the end of a fault to its next message. */
export interface SessionWait {
  session: string;
  /** When the fault began. */
  startMs: number;
  /** When it was put right. */
  endMs: number;
  /** When the session's next message arrived; if none did, the end of the load. */
  nextMs: number;
}

/** All from the end of the fault, which is when the cause was put right. */
export interface Recovery {
  kind: string;
  count: number;
  /** Of these, so many had no other fault from their beginning until all was well: they alone are measured. */
  measured: number;
  /** A client's enqueue is answered with 200, whichever orchestrator does it. */
  clients: Times;
  /** A worker's claim is answered. */
  claims: Times;
  /** The fleet is led: the lease was taken or renewed. */
  lead: Times;
  /**
   * The next message of each session that it touched, and that was connected when it began, arrives. Includes the start of workers that died with it, and
   * the time in which there was nothing to send, some 400 ms a session.
   */
  sessions: Times;
  /**
   * A message that was on the wire during the fault and had no ack is on the wire again. Only the time counts in
   * which its session was connected, so that somebody could have sent it.
   */
  redelivery: Times;
  /** All of the time, the starts of workers included; without sessions that a person had stopped. */
  redeliveryWithStart: Times;
  /** All that `sessions` is made of, the longest first. */
  waits: SessionWait[];
}

export interface RecoveryFacts {
  faults: readonly FaultRecord[];
  service: Service;
  arrivals: readonly Arrival[];
  attempts: readonly Attempt[];
  connections: readonly Connection[];
  sessions: readonly string[];
  /** Sessions that were away in between do not count. */
  stops: readonly SessionStop[];
  /** End of the load: what comes later says nothing. */
  untilMs: number;
}

/** So long after its end a fault stands alone. */
export const ALONE_MS = 3000;

export function recoveries(facts: RecoveryFacts): Recovery[] {
  const { faults, service } = facts;
  const sessionTimes = new Map(
    [...Map.groupBy(facts.arrivals, ({ session }) => session)].map(([session, all]) => [
      session,
      all.map(({ atMs }) => atMs),
    ]),
  );
  const seconds = secondAttempts(facts.attempts);
  return [...Map.groupBy(faults, ({ kind }) => kind)].map(([kind, all]): Recovery => {
    const alone = all.filter((fault) => standsAlone(fault, faults) && beganWell(fault, faults, service));
    const again = alone.flatMap((fault) => redeliveries(fault, seconds, facts));
    const waits = alone.flatMap((fault) => sessionWaits(fault, sessionTimes, facts));
    const after = (successes: readonly Success[]): Times =>
      timesOf(alone.flatMap(({ endMs }) => waitFor(successes, endMs, facts.untilMs) ?? []));
    return {
      kind,
      count: all.length,
      measured: alone.length,
      clients: after(service.enqueues),
      claims: after(service.claims),
      lead: after(service.leads),
      sessions: timesOf(waits.map(lengthOf)),
      redelivery: timesOf(again.map(({ servableMs }) => servableMs)),
      redeliveryWithStart: timesOf(again.filter(({ wasStopped }) => !wasStopped).map(({ waitMs }) => waitMs)),
      waits: waits.toSorted((a, b) => lengthOf(b) - lengthOf(a)),
    };
  });
}

const lengthOf = ({ endMs, nextMs }: SessionWait): number => nextMs - endMs;

const standsAlone = (fault: FaultRecord, all: readonly FaultRecord[]): boolean =>
  !all.some(
    (other) =>
      other !== fault && other.startMs < fault.endMs + ALONE_MS && other.endMs + ALONE_MS > fault.startMs,
  );

/** Whether all was well again after the faults before it: what is still being put right after one is that one's. */
function beganWell(fault: FaultRecord, all: readonly FaultRecord[], service: Service): boolean {
  const earlier = all.filter((other) => other !== fault && other.endMs <= fault.startMs);
  const before = Math.max(...earlier.map(({ endMs }) => endMs));
  if (before === Number.NEGATIVE_INFINITY) return true;
  return [service.enqueues, service.claims, service.leads].every(
    (successes) =>
      successes.length === 0 ||
      successes.some(({ beganMs, atMs }) => beganMs >= before && atMs <= fault.startMs),
  );
}

/**
 * Only what was begun after the fault was put right says that the service is back. What was not back when the load
 * ended took at least until then.
 */
function waitFor(successes: readonly Success[], endMs: number, untilMs: number): number | null {
  const times = successes.filter(({ beganMs }) => beganMs >= endMs).map(({ atMs }) => atMs);
  if (times.length > 0) return Math.min(...times) - endMs;
  return tellsOfSilence(endMs, untilMs) ? untilMs - endMs : null;
}

/** Whether enough of the load was left after a fault for silence to mean something. */
const tellsOfSilence = (endMs: number, untilMs: number): boolean => untilMs - endMs >= ALONE_MS;

function sessionWaits(
  fault: FaultRecord,
  times: ReadonlyMap<string, number[]>,
  { sessions, stops, connections, untilMs }: RecoveryFacts,
): SessionWait[] {
  // What is still being started after an earlier fault is that one's.
  const connected = new Set(
    connections
      .filter(
        ({ openedMs, closedMs }) => openedMs < fault.startMs && (closedMs ?? fault.startMs) >= fault.startMs,
      )
      .map(({ session }) => session),
  );
  const isAway = (session: string, toMs: number): boolean => isStopped(stops, session, fault.startMs, toMs);
  return (fault.sessions ?? sessions).flatMap((session) => {
    const next = times.get(session)?.find((atMs) => atMs > fault.endMs) ?? Number.POSITIVE_INFINITY;
    const nextMs = Math.min(next, untilMs);
    const isKnown = next <= untilMs || tellsOfSilence(fault.endMs, untilMs);
    const counts = isKnown && connected.has(session) && !isAway(session, nextMs);
    return counts ? [{ session, startMs: fault.startMs, endMs: fault.endMs, nextMs }] : [];
  });
}

const isStopped = (stops: readonly SessionStop[], session: string, fromMs: number, toMs: number): boolean =>
  stops.some((stop) => stop.session === session && stop.fromMs < toMs && stop.untilMs > fromMs);

interface Again {
  session: string;
  firstMs: number;
  nextMs: number;
}

function secondAttempts(attempts: readonly Attempt[]): Again[] {
  const before = new Map<string, number>();
  const found: Again[] = [];
  for (const { text, session, atMs } of attempts) {
    const firstMs = before.get(text);
    if (firstMs !== undefined) found.push({ session, firstMs, nextMs: atMs });
    before.set(text, atMs);
  }
  return found;
}

/** A message may have been on the wire a moment before the fault hit. */
const JUST_BEFORE_MS = 200;

interface Redelivery {
  /** From the end of the fault. */
  waitMs: number;
  /** As much of that as the session was connected. */
  servableMs: number;
  wasStopped: boolean;
}

const redeliveries = (
  { startMs, endMs, sessions }: FaultRecord,
  again: readonly Again[],
  { connections, stops }: RecoveryFacts,
): Redelivery[] =>
  again
    .filter(({ session }) => sessions === null || sessions.includes(session))
    .filter(({ firstMs }) => firstMs >= startMs - JUST_BEFORE_MS && firstMs <= endMs)
    .map(({ session, nextMs }) => ({
      waitMs: Math.max(0, nextMs - endMs),
      servableMs: connections
        .filter((each) => each.session === session)
        .map((each) => Math.min(each.closedMs ?? nextMs, nextMs) - Math.max(each.openedMs, endMs))
        .reduce((sum, ms) => sum + Math.max(0, ms), 0),
      wasStopped: isStopped(stops, session, startMs, nextMs),
    }));

export const timesOf = (waits: readonly number[]): Times => ({
  p50Ms: quantile(waits, 0.5),
  maxMs: quantile(waits, 1),
});

export function quantile(values: readonly number[], part: number): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? null;
}
