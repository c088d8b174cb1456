import Table from 'cli-table3';
import type { Verdict } from './checker.ts';
import { missedGoals } from './goals.ts';
import { quantile, type Times } from './recovery.ts';
import { LEASE_MS, type RunResult } from './run.ts';
import { slowAnswers } from './slow-answers.ts';
import type { Explained, Explanation } from './timeline.ts';

const SHOWN = 10;

/** What a run has to hold up to: name → what was found against it. */
export function checksOf({
  verdict,
  oddities,
}: Pick<RunResult, 'verdict' | 'oddities'>): Record<string, string[]> {
  const { lost, unexpected, doubles, orderBreaks, capBreaches, staleWrites, overlaps } = verdict;
  return {
    lost,
    unexpected,
    doubles,
    'order breaks': orderBreaks,
    'cap breaches': capBreaches,
    'stale writes': staleWrites,
    overlaps,
    oddities,
  };
}

export const allHolds = (result: Pick<RunResult, 'verdict' | 'oddities'>): boolean =>
  Object.values(checksOf(result)).every((found) => found.length === 0);

/** The one line that can be quoted. */
export function lineOf(result: RunResult): string {
  const { verdict, faults, perSecond } = result;
  const latencies = result.answers.map(({ tookMs }) => tookMs);
  const ms = (part: number): string => `${Math.round(quantile(latencies, part) ?? 0)} ms`;
  const found = Object.entries(checksOf(result)).map(([name, all]) => `${name} ${all.length}`);
  return (
    `accepted ${verdict.accepted}, ${perSecond.toFixed(0)}/s, ${faults.length} faults, ${found.join(', ')}, ` +
    `accepted in p50 ${ms(0.5)} / p99 ${ms(0.99)}: ${allHolds(result) ? 'ALL HOLDS' : 'BROKEN'}`
  );
}

/** @param explains also tells of each kind's slowest session what it waited for */
export function report(result: RunResult, say: (text: string) => void, explains = false): void {
  const { verdict, unexpectedEnds } = result;
  say('seconds from the end of a fault until it was well again (p50 / max), where no other fault was near:');
  say(recoveryTable(result));
  for (const { kind, what, maxMs, goalMs } of missedGoals(result.recoveries, result.explained, LEASE_MS)) {
    const slowest = result.explained.find((each) => each.kind === kind)?.slowest;
    const why = what === 'held up' && slowest ? ` (${slowest.session}: ${sharesOf(slowest)})` : '';
    say(`above its goal: ${kind}, ${what} ${Math.round(maxMs)} ms instead of ${goalMs}${why}`);
  }
  if (explains) for (const each of result.explained) sayWhy(each, say);
  for (const [name, all] of Object.entries({ ...checksOf(result), 'unexpected ends': unexpectedEnds })) {
    if (all.length === 0) continue;
    say(`${name}: ${all.length}`);
    for (const each of all.slice(0, SHOWN)) say(`  ${each}`);
  }
  say(endsOf(verdict));
  say(watchOf(result));
  say(result.machine);
  say(slowOf(result));
  say(lineOf(result));
}

function slowOf({ answers, faults }: RunResult): string {
  const { count, kinds } = slowAnswers(answers, faults);
  const during = kinds.map(([kind, number]) => `${kind} ${number}`);
  return `accepted after more than a second: ${count}${count > 0 ? `; during ${during.join(', ')}` : ''}`;
}

/** A check that had nothing to look at holds always. */
const watchOf = ({ capLooks, staleRefused }: RunResult): string => {
  const tries = Object.entries(staleRefused).map(([what, count]) => `${what} ${count}`);
  return `caps looked at in Redis ${capLooks} times; refused to replaced workers: ${tries.join(', ')}`;
};

const endsOf = (verdict: Verdict): string =>
  `sent ${verdict.sent}, dead ${verdict.dead} (arrived all the same: ${verdict.deadButArrived}), ` +
  `cancelled ${verdict.cancelled}, sent again on the wire ${verdict.resent}`;

const sharesOf = ({ parts }: Explanation): string =>
  Object.entries(parts)
    .map(([part, ms]) => `${part} ${ms}`)
    .join(', ');

function sayWhy({ kind, slowest }: Explained, say: (text: string) => void): void {
  if (!slowest) return;
  const { session, waitMs, heldUpMs, timeline } = slowest;
  say(`${kind}: ${session} waited ${waitMs} ms, held up for ${heldUpMs} of them: ${sharesOf(slowest)}`);
  for (const { atMs, what } of timeline) say(`  ${String(atMs).padStart(7)} ms  ${what}`);
}

function recoveryTable({ recoveries, explained }: RunResult): string {
  const table = new Table({
    head: ['fault', 'alone', 'clients', 'claims', 'lead', 'sessions', 'held up', 'redelivery', 'with start'],
    style: { head: [], border: [] },
  });
  const seconds = (ms: number): string => (ms / 1000).toFixed(2);
  const times = ({ p50Ms, maxMs }: Times): string =>
    p50Ms === null || maxMs === null ? '-' : `${seconds(p50Ms)} / ${seconds(maxMs)}`;
  for (const each of recoveries.toSorted((a, b) => a.kind.localeCompare(b.kind))) {
    const { kind, count, measured, clients, claims, lead, sessions, redelivery } = each;
    const { redeliveryWithStart } = each;
    const heldUp = explained.find((other) => other.kind === kind)?.heldUp ?? { p50Ms: null, maxMs: null };
    table.push([
      kind,
      `${measured} of ${count}`,
      ...[clients, claims, lead, sessions, heldUp, redelivery, redeliveryWithStart].map((column) =>
        times(column),
      ),
    ]);
  }
  return table.toString();
}
