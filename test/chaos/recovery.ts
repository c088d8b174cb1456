import type { Arrival } from './history.ts';

export interface FaultRecord {
  kind: string;
  startMs: number;
  /** When it was put right. */
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

export interface Recovery {
  kind: string;
  count: number;
  p50Ms: number | null;
  maxMs: number | null;
}

/**
 * From the end of a fault to the next message of each session that it touched, by kind of fault. That includes the
 * time in which there was nothing to send, some 400 ms a session.
 * @param stops sessions that were away in between do not count
 * @param untilMs end of the load: what comes later says nothing
 */
export function recoveries(
  faults: readonly FaultRecord[],
  arrivals: readonly Arrival[],
  sessions: readonly string[],
  stops: readonly SessionStop[],
  untilMs: number,
): Recovery[] {
  const times = new Map<string, number[]>();
  const bySession = Map.groupBy(arrivals, ({ session }) => session);
  for (const [session, all] of bySession)
    times.set(
      session,
      all.map(({ atMs }) => atMs),
    );
  const isAway = (session: string, fromMs: number, toMs: number): boolean =>
    stops.some((stop) => stop.session === session && stop.fromMs < toMs && stop.untilMs > fromMs);
  const kinds = Map.groupBy(faults, ({ kind }) => kind);
  return [...kinds].map(([kind, all]): Recovery => {
    const waits = all.flatMap((fault) =>
      (fault.sessions ?? sessions).flatMap((session) => {
        const next = times.get(session)?.find((atMs) => atMs > fault.endMs);
        const counts = next !== undefined && next <= untilMs && !isAway(session, fault.startMs, next);
        return !counts ? [] : [next - fault.endMs];
      }),
    );
    return { kind, count: all.length, p50Ms: quantile(waits, 0.5), maxMs: quantile(waits, 1) };
  });
}

export function quantile(values: readonly number[], part: number): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? null;
}
