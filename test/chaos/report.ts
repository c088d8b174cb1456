import Table from 'cli-table3';
import type { Verdict } from './checker.ts';
import { quantile, type Times } from './recovery.ts';
import type { RunResult } from './run.ts';

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
  const { verdict, faults, latencies, perSecond } = result;
  const ms = (part: number): string => `${Math.round(quantile(latencies, part) ?? 0)} ms`;
  const found = Object.entries(checksOf(result)).map(([name, all]) => `${name} ${all.length}`);
  return (
    `accepted ${verdict.accepted}, ${perSecond.toFixed(0)}/s, ${faults.length} faults, ${found.join(', ')}, ` +
    `accepted in p50 ${ms(0.5)} / p99 ${ms(0.99)}: ${allHolds(result) ? 'ALL HOLDS' : 'BROKEN'}`
  );
}

export function report(result: RunResult, say: (text: string) => void): void {
  const { verdict, unexpectedEnds } = result;
  say('seconds from the end of a fault until it was well again (p50 / max), where no other fault was near:');
  say(recoveryTable(result));
  for (const [name, all] of Object.entries({ ...checksOf(result), 'unexpected ends': unexpectedEnds })) {
    if (all.length === 0) continue;
    say(`${name}: ${all.length}`);
    for (const each of all.slice(0, SHOWN)) say(`  ${each}`);
  }
  say(endsOf(verdict));
  say(lineOf(result));
}

const endsOf = (verdict: Verdict): string =>
  `sent ${verdict.sent}, dead ${verdict.dead} (arrived all the same: ${verdict.deadButArrived}), ` +
  `cancelled ${verdict.cancelled}, sent again on the wire ${verdict.resent}`;

function recoveryTable({ recoveries }: RunResult): string {
  const table = new Table({
    head: ['fault', 'alone', 'clients', 'claims', 'lead', 'sessions', 'redelivery', 'with start'],
    style: { head: [], border: [] },
  });
  const seconds = (ms: number): string => (ms / 1000).toFixed(2);
  const times = ({ p50Ms, maxMs }: Times): string =>
    p50Ms === null || maxMs === null ? '-' : `${seconds(p50Ms)} / ${seconds(maxMs)}`;
  for (const each of recoveries.toSorted((a, b) => a.kind.localeCompare(b.kind))) {
    const { kind, count, measured, clients, claims, lead, sessions, redelivery } = each;
    const { redeliveryWithStart } = each;
    table.push([
      kind,
      `${measured} of ${count}`,
      ...[clients, claims, lead, sessions, redelivery, redeliveryWithStart].map((column) => times(column)),
    ]);
  }
  return table.toString();
}
