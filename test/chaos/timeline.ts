import type { Arrival, Connection } from './history.ts';
import { type Recovery, type SessionWait, type Times, timesOf } from './recovery.ts';
import type { LogLine } from './run-logs.ts';

/** A message as SQL tells of it, in milliseconds of the run; null for what has not happened. */
export interface TaskStory {
  session: string;
  text: string;
  queuedMs: number | null;
  claimedMs: number | null;
}

export interface TimelineFacts {
  arrivals: readonly Arrival[];
  connections: readonly Connection[];
  stories: readonly TaskStory[];
  logs: readonly LogLine[];
}

/** What a session may wait for. */
export type Part =
  /** Its connection is gone, and the orchestrator calls it connected or reconnecting all the same. */
  | 'no connection'
  /** The end of its worker is known; a new one is not started yet: back-off, or its turn. */
  | 'not started'
  /** From the order to start its worker until it is connected. */
  | 'start'
  | 'nothing to send'
  /** Connected, and a message waits in its outbox. */
  | 'claim'
  /** Handed out, and not yet with the recipient. */
  | 'send';

/** Why one session took so long: milliseconds of its wait, and what was seen meanwhile. */
export interface Explanation {
  session: string;
  waitMs: number;
  /** Of that, so long there was something to be sent. */
  heldUpMs: number;
  parts: Partial<Record<Part, number>>;
  /** `atMs` from the end of the fault. */
  timeline: { atMs: number; what: string }[];
}

export interface Explained {
  kind: string;
  /** As `sessions`, but only the time in which there was something to be sent. */
  heldUp: Times;
  /** The session that was held up the longest. */
  slowest: Explanation | null;
}

const MOST_LINES = 60;

/** For each kind of fault how long sessions with something to send were held up, and what by in the worst case. */
export function explain(recoveries: readonly Recovery[], facts: TimelineFacts): Explained[] {
  const book = new Book(facts);
  return recoveries.map(({ kind, waits }): Explained => {
    const held = waits.map((wait) => ({ wait, ms: book.heldUpMs(wait) }));
    const worst = held.toSorted((a, b) => b.ms - a.ms)[0];
    return {
      kind,
      heldUp: timesOf(held.map(({ ms }) => ms)),
      slowest: worst ? book.explanation(worst.wait) : null,
    };
  });
}

interface Span {
  fromMs: number;
  toMs: number;
  claimedMs: number | null;
}

/** All that is known of each session. */
class Book {
  readonly #connections: ReadonlyMap<string, readonly Connection[]>;
  readonly #logs: ReadonlyMap<string, readonly LogLine[]>;
  readonly #fleetWide: readonly LogLine[];
  /** From when to when each message waited. */
  readonly #waiting = new Map<string, (Span & { text: string })[]>();

  constructor({ arrivals, connections, stories, logs }: TimelineFacts) {
    this.#connections = Map.groupBy(connections, ({ session }) => session);
    this.#logs = Map.groupBy(
      logs.filter(({ session }) => session !== null),
      ({ session }) => session ?? '',
    );
    this.#fleetWide = logs.filter(({ session }) => session === null);
    const arrived = new Map<string, number>();
    for (const { text, atMs } of arrivals) if (!arrived.has(text)) arrived.set(text, atMs);
    for (const { session, text, queuedMs, claimedMs } of stories) {
      const toMs = arrived.get(text);
      if (queuedMs === null || toMs === undefined) continue;
      const spans = this.#waiting.get(session) ?? [];
      spans.push({ fromMs: queuedMs, toMs, claimedMs, text });
      this.#waiting.set(session, spans);
    }
  }

  heldUpMs(wait: SessionWait): number {
    const spans = this.#spans(wait);
    return boundsOf(wait, spans.flatMap(endsOf))
      .filter(([fromMs]) => isWithin(spans, fromMs))
      .reduce((sum, [fromMs, toMs]) => sum + toMs - fromMs, 0);
  }

  explanation(wait: SessionWait): Explanation {
    const { session, endMs, nextMs } = wait;
    const spans = this.#spans(wait);
    const connections = (this.#connections.get(session) ?? []).map(({ openedMs, closedMs }) => ({
      fromMs: openedMs,
      toMs: closedMs ?? Number.POSITIVE_INFINITY,
    }));
    const states = (this.#logs.get(session) ?? []).filter(({ state }) => state !== null);
    const partAt = (atMs: number): Part => {
      const waiting = spans.filter((span) => span.fromMs <= atMs && span.toMs > atMs);
      if (isWithin(connections, atMs)) {
        if (waiting.length === 0) return 'nothing to send';
        return waiting.some(({ claimedMs }) => claimedMs !== null && claimedMs <= atMs) ? 'send' : 'claim';
      }
      const state = states.findLast((line) => line.atMs <= atMs)?.state;
      return state === 'starting' ? 'start' : state === 'pending' ? 'not started' : 'no connection';
    };
    const bounds = boundsOf(wait, [
      ...spans.flatMap(endsOf),
      ...spans.flatMap(({ claimedMs }) => claimedMs ?? []),
      ...connections.flatMap(endsOf),
      ...states.map(({ atMs }) => atMs),
    ]);
    const parts: Partial<Record<Part, number>> = {};
    for (const [fromMs, toMs] of bounds) {
      const part = partAt(fromMs);
      parts[part] = Math.round((parts[part] ?? 0) + toMs - fromMs);
    }
    return {
      session,
      waitMs: Math.round(nextMs - endMs),
      heldUpMs: Math.round(this.heldUpMs(wait)),
      parts,
      timeline: this.#timeline(wait),
    };
  }

  /** From a second before the fault. */
  #timeline({ session, startMs, endMs, nextMs }: SessionWait): Explanation['timeline'] {
    const seen = [
      { atMs: startMs, what: 'the fault begins' },
      { atMs: endMs, what: 'the fault is put right' },
      ...(this.#connections.get(session) ?? []).flatMap(({ epoch, openedMs, closedMs }) => [
        { atMs: openedMs, what: `connected to WhatsApp (epoch ${epoch})` },
        { atMs: closedMs ?? Number.POSITIVE_INFINITY, what: `connection ends (epoch ${epoch})` },
      ]),
      ...(this.#waiting.get(session) ?? []).flatMap(({ text, fromMs, claimedMs, toMs }) => [
        { atMs: fromMs, what: `${text} queued` },
        ...(claimedMs === null ? [] : [{ atMs: claimedMs, what: `${text} claimed` }]),
        { atMs: toMs, what: `${text} arrives` },
      ]),
      ...[...this.#fleetWide, ...(this.#logs.get(session) ?? [])].map(({ atMs, what }) => ({ atMs, what })),
    ]
      .filter(({ atMs }) => atMs >= startMs - 1000 && atMs <= nextMs)
      .toSorted((a, b) => a.atMs - b.atMs)
      .map(({ atMs, what }) => ({ atMs: Math.round(atMs - endMs), what }));
    const left = seen.length - MOST_LINES;
    // The beginning and the end tell most.
    return left <= 0
      ? seen
      : [
          ...seen.slice(0, MOST_LINES / 2),
          { atMs: seen[MOST_LINES / 2]?.atMs ?? 0, what: `… ${left} more …` },
          ...seen.slice(-MOST_LINES / 2),
        ];
  }

  #spans({ session, endMs, nextMs }: SessionWait): Span[] {
    return (this.#waiting.get(session) ?? []).filter((span) => span.fromMs < nextMs && span.toMs > endMs);
  }
}

type Range = Pick<Span, 'fromMs' | 'toMs'>;

const endsOf = ({ fromMs, toMs }: Range): number[] => [fromMs, toMs];
const isWithin = (spans: readonly Range[], atMs: number): boolean =>
  spans.some((span) => span.fromMs <= atMs && span.toMs > atMs);

/** The wait, cut where something changes. */
function boundsOf({ endMs, nextMs }: SessionWait, cuts: readonly number[]): [number, number][] {
  const inner = cuts.filter((ms) => ms > endMs && ms < nextMs).toSorted((a, b) => a - b);
  const all = [endMs, ...inner, nextMs];
  return all.slice(1).map((to, index) => [all[index] ?? endMs, to]);
}
