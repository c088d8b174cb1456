import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import type { Verdict } from './checker.ts';
import { copySources } from './copy-sources.ts';
import { FAULTS } from './faults.ts';
import { quantile, type Times } from './recovery.ts';
import { forget, type RunResult, run } from './run.ts';
import { breakCopy, SABOTAGES } from './sabotage.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const SHOWN = 10;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    seconds: { type: 'string' },
    faults: { type: 'string' },
    /** Sixty seconds and a dozen faults. */
    short: { type: 'boolean', default: false },
    /** Breaks a copy of the product in a named way; the run has to notice. */
    sabotage: { type: 'string' },
    /** Comma-separated kinds of faults. */
    only: { type: 'string' },
    /** Each fault on its own, so that what follows is its own. */
    'one-by-one': { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});

const say = (text: string): void => void process.stdout.write(`${text}\n`);

const seconds = Number(values.seconds ?? (values.short || values.sabotage ? 55 : 450));
const faults = Number(values.faults ?? Math.ceil(seconds / 4.5));
const kinds = values.only?.split(',') ?? (values.sabotage ? (SABOTAGES[values.sabotage]?.kinds ?? []) : []);
for (const kind of kinds) if (!(kind in FAULTS)) throw new Error(`There is no fault ${kind}.`);
const sources = await copySources(ROOT);
if (values.sabotage) await breakCopy(sources, values.sabotage);

say(
  `seed ${values.seed}, ${seconds} s, ${faults} faults${values.sabotage ? `, sabotage ${values.sabotage}` : ''}`,
);
const result = await run({
  seed: Number(values.seed),
  seconds,
  faults,
  kinds,
  oneByOne: values['one-by-one'],
  sources,
  say,
});
report(result);
await forget(sources);
const good = result.verdict.ok && result.oddities.length === 0;
if (good && !values.keep) await forget(result.dir);
else say(`logs and data: ${result.dir}`);
process.exitCode = good ? 0 : 1;

function report({
  verdict,
  faults: made,
  recoveries,
  latencies,
  perSecond,
  oddities,
  unexpectedEnds,
}: RunResult): void {
  const table = new Table({
    head: ['fault', 'alone', 'clients', 'claims', 'lead', 'sessions', 'redelivery'],
    style: { head: [], border: [] },
  });
  const seconds = (ms: number): string => (ms / 1000).toFixed(2);
  const times = ({ p50Ms, maxMs }: Times): string =>
    p50Ms === null || maxMs === null ? '-' : `${seconds(p50Ms)} / ${seconds(maxMs)}`;
  for (const each of recoveries.toSorted((a, b) => a.kind.localeCompare(b.kind))) {
    const { kind, count, measured, clients, claims, lead, sessions, redelivery } = each;
    table.push([
      kind,
      `${measured} of ${count}`,
      ...[clients, claims, lead, sessions, redelivery].map((column) => times(column)),
    ]);
  }
  say('seconds from the end of a fault until it was well again (p50 / max), where no other fault was near:');
  say(table.toString());
  listAll(verdict, { oddities, 'unexpected ends': unexpectedEnds });
  say(
    `sent ${verdict.sent}, dead ${verdict.dead} (arrived all the same: ${verdict.deadButArrived}), ` +
      `cancelled ${verdict.cancelled}, sent again on the wire ${verdict.resent}`,
  );
  const ms = (part: number): string => `${Math.round(quantile(latencies, part) ?? 0)} ms`;
  const wrong = verdict.lost.length + verdict.unexpected.length;
  say(
    `accepted ${verdict.accepted}, ${perSecond.toFixed(0)}/s, ${made.length} faults, lost ${verdict.lost.length}, ` +
      `unexpected ${wrong - verdict.lost.length}, doubles ${verdict.doubles.length}, ` +
      `order breaks ${verdict.orderBreaks.length}, cap breaches ${verdict.capBreaches.length}, ` +
      `stale writes ${verdict.staleWrites.length}, overlaps ${verdict.overlaps.length}, ` +
      `accepted in p50 ${ms(0.5)} / p99 ${ms(0.99)}: ${verdict.ok && oddities.length === 0 ? 'ALL HOLDS' : 'BROKEN'}`,
  );
}

function listAll(verdict: Verdict, more: Record<string, string[]>): void {
  const { lost, unexpected, doubles, orderBreaks, capBreaches, staleWrites, overlaps } = verdict;
  const found = { lost, unexpected, doubles, orderBreaks, capBreaches, staleWrites, overlaps, ...more };
  for (const [name, all] of Object.entries(found)) {
    if (all.length === 0) continue;
    say(`${name}: ${all.length}`);
    for (const each of all.slice(0, SHOWN)) say(`  ${each}`);
  }
}
