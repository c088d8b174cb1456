import type { AcceptedMessage, Arrival, History, LedgerRow } from './history.ts';

export interface Verdict {
  accepted: number;
  sent: number;
  dead: number;
  cancelled: number;
  lost: string[];
  unexpected: string[];
  /** More than one task for one message, or one message under two WhatsApp ids. */
  doubles: string[];
  orderBreaks: string[];
  capBreaches: string[];
  staleWrites: string[];
  overlaps: string[];
  /** The same message again under the same id: seen by the wire, folded by the recipient's client. */
  resent: number;
  /** Dead in the ledger for want of an ack, and yet with the recipient. */
  deadButArrived: number;
  ok: boolean;
}

const SENT = new Set(['sent', 'delivered', 'read']);

/** Holds a history against what was promised. Pure: the same history, the same verdict. */
export function check(history: History): Verdict {
  const firsts = firstArrivals(history.arrivals);
  const rows = Map.groupBy(history.ledger, ({ text }) => text);
  const verdict: Verdict = {
    accepted: history.accepted.length,
    sent: 0,
    dead: 0,
    cancelled: 0,
    lost: [],
    unexpected: [],
    doubles: [],
    orderBreaks: [],
    capBreaches: [...history.capBreaches],
    staleWrites: [...history.staleWrites],
    overlaps: history.connections
      .filter(({ replaced }) => replaced)
      .map(
        ({ session, epoch, openedMs }) =>
          `${session} (epoch ${epoch}, open since ${Math.round(openedMs)} ms)`,
      ),
    resent: 0,
    deadButArrived: 0,
    ok: false,
  };
  for (const message of history.accepted)
    judge(message, rows.get(message.text) ?? [], firsts, history, verdict);
  checkIds(history, verdict);
  checkUnexpected(history, firsts, verdict);
  checkOrder(history, firsts, verdict);
  verdict.ok = [
    verdict.lost,
    verdict.unexpected,
    verdict.doubles,
    verdict.orderBreaks,
    verdict.capBreaches,
    verdict.staleWrites,
    verdict.overlaps,
  ].every((found) => found.length === 0);
  return verdict;
}

function firstArrivals(arrivals: readonly Arrival[]): Map<string, Arrival & { place: number }> {
  const firsts = new Map<string, Arrival & { place: number }>();
  arrivals.forEach((arrival, place) => {
    if (!firsts.has(arrival.text)) firsts.set(arrival.text, { ...arrival, place });
  });
  return firsts;
}

/** Each message has exactly one end, and the end is true. */
function judge(
  message: AcceptedMessage,
  rows: readonly LedgerRow[],
  firsts: ReadonlyMap<string, Arrival>,
  history: History,
  verdict: Verdict,
): void {
  const { text, cancelledMs } = message;
  const arrival = firsts.get(text);
  if (rows.length > 1) verdict.doubles.push(`${text} has ${rows.length} tasks`);
  const row = rows[0];
  if (!row) {
    // Cancelled before it was given to a session: then it has no task, and must not have gone out.
    if (cancelledMs === null) verdict.lost.push(`${text}: no task`);
    else if (arrival) verdict.unexpected.push(`${text}: sent without a task`);
    else verdict.cancelled += 1;
    return;
  }
  if (message.session !== null && row.session !== message.session) {
    verdict.unexpected.push(`${text}: given to ${row.session} instead of ${message.session}`);
  }
  if (SENT.has(row.state)) {
    verdict.sent += 1;
    if (!arrival) verdict.lost.push(`${text}: called sent, and never arrived`);
  } else if (row.state === 'failed') {
    verdict.dead += 1;
    if (arrival) verdict.deadButArrived += 1;
  } else if (row.state === 'cancelled') {
    verdict.cancelled += 1;
    if (cancelledMs === null)
      verdict.lost.push(`${text}: cancelled by nobody (${row.reason ?? 'no reason'})`);
    else if (arrival && arrival.atMs > cancelledMs + history.inFlightMs) {
      verdict.unexpected.push(`${text}: sent ${Math.round(arrival.atMs - cancelledMs)} ms after its cancel`);
    }
  } else verdict.lost.push(`${text}: still ${row.state}${arrival ? ', and arrived' : ''}`);
}

function checkIds({ arrivals }: History, verdict: Verdict): void {
  const idOfText = new Map<string, string>();
  const textOfId = new Map<string, string>();
  for (const { text, id } of arrivals) {
    const known = idOfText.get(text);
    if (known === id) verdict.resent += 1;
    else if (known !== undefined) verdict.doubles.push(`${text} went out as ${known} and as ${id}`);
    else idOfText.set(text, id);
    const other = textOfId.get(id);
    if (other !== undefined && other !== text) verdict.doubles.push(`${id} stands for ${other} and ${text}`);
    textOfId.set(id, text);
  }
}

function checkUnexpected(
  { accepted, unanswered, ledger }: History,
  firsts: ReadonlyMap<string, Arrival>,
  verdict: Verdict,
): void {
  const known = new Set(accepted.map(({ text }) => text));
  for (const text of firsts.keys()) {
    if (!known.has(text) && !unanswered.has(text)) verdict.unexpected.push(`${text}: nobody asked for it`);
  }
  for (const { text } of ledger) {
    if (!known.has(text) && !unanswered.has(text))
      verdict.unexpected.push(`${text}: a task nobody asked for`);
  }
}

/** Per session and recipient, first arrivals come in the order of enqueueing. */
function checkOrder(
  { accepted }: History,
  firsts: ReadonlyMap<string, Arrival & { place: number }>,
  verdict: Verdict,
): void {
  const lines = new Map<string, { text: string; place: number; arrived: number }[]>();
  for (const { text, to, stream, place } of accepted) {
    const arrival = firsts.get(text);
    if (!arrival) continue;
    const key = JSON.stringify([stream, arrival.session, to]);
    const line = lines.get(key) ?? [];
    line.push({ text, place, arrived: arrival.place });
    lines.set(key, line);
  }
  for (const line of lines.values()) {
    line.sort((a, b) => a.place - b.place);
    for (let at = 1; at < line.length; at++) {
      const [before, after] = [line[at - 1], line[at]];
      if (before && after && before.arrived > after.arrived) {
        verdict.orderBreaks.push(`${after.text} arrived before ${before.text}`);
      }
    }
  }
}
