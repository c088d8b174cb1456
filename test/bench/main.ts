import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import Table from 'cli-table3';
import { bench as allocation } from './allocation.ts';
import { bench as containers } from './containers.ts';
import { bench as fleet } from './fleet.ts';
import { bench as http } from './http.ts';
import { bench as intake } from './intake.ts';
import { bench as memory } from './memory.ts';
import { bench as migrations } from './migrations.ts';
import { bench as outbox } from './outbox.ts';
import { bench as parts } from './parts.ts';
import { bench as polls } from './polls.ts';
import { hostTimes } from './process-figures.ts';
import type { BenchRow, Report } from './report.ts';
import { bench as restarts } from './restarts.ts';
import { bench as retention } from './retention.ts';
import { bench as two } from './two.ts';

const SUITES: Record<string, { title: string; run: (report: Report) => Promise<void> }> = {
  allocation: { title: 'Allocation', run: allocation },
  outbox: { title: 'Outbox', run: outbox },
  http: { title: 'Whole cycles over HTTP', run: http },
  parts: { title: 'Where the time of a cycle goes', run: parts },
  polls: { title: 'Waiting polls', run: polls },
  two: { title: 'Two orchestrators', run: two },
  intake: { title: 'Intake and dispatch', run: intake },
  retention: { title: 'What finished tasks leave behind', run: retention },
  fleet: { title: 'Workers', run: fleet },
  containers: { title: 'Workers in containers', run: containers },
  restarts: { title: 'Restart of a whole fleet', run: restarts },
  migrations: { title: 'Migrations', run: migrations },
  memory: { title: 'Memory', run: memory },
};

const PAGE = join(import.meta.dirname, '..', '..', 'docs', 'performance.md');

const names = process.argv.slice(2);
const unknown = names.find((name) => !SUITES[name]);
if (unknown) {
  process.stderr.write(`There is no benchmark ${unknown}. There are: ${Object.keys(SUITES).join(', ')}.\n`);
  process.exit(1);
}

for (const [name, { title, run }] of Object.entries(SUITES)) {
  if (names.length > 0 && !names.includes(name)) continue;
  process.stdout.write(`\n${title}\n`);
  const rows: BenchRow[] = [];
  const report: Report = (row) => {
    rows.push(row);
    process.stdout.write(`  ${row.figure}: ${show(row.value)} ${row.unit}${ratioOf(row)}\n`);
  };
  const before = hostTimes();
  await run(report);
  const after = hostTimes();
  report({
    figure: 'time that the host gave to other guests meanwhile',
    value: (100 * (after.stolen - before.stolen)) / (after.all - before.all),
    unit: '%',
  });
  const table = new Table({ head: ['figure', 'value', 'beside'], style: { head: [], border: [] } });
  for (const row of rows) table.push([row.figure, `${show(row.value)} ${row.unit}`, besideOf(row)]);
  process.stdout.write(`${table.toString()}\n`);
  writeSection(name, title, rows);
}

/** Replaces the part of docs/performance.md between this suite's marks. */
function writeSection(name: string, title: string, rows: BenchRow[]): void {
  const begin = `<!-- ${name}: written by the benchmark -->`;
  const end = `<!-- end of ${name} -->`;
  const machine = `${cpus().length} cores (${cpus()[0]?.model.trim()}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`;
  const lines = [
    begin,
    `## ${title}`,
    '',
    `\`npm run bench -- ${name}\`, ${new Date().toISOString().slice(0, 10)}, ${machine}.`,
    '',
    '| figure | value | beside |',
    '|---|---:|---|',
    ...rows.map((row) => `| ${row.figure} | ${show(row.value)} ${row.unit} | ${besideOf(row)} |`),
    end,
  ].join('\n');
  const page = readFileSync(PAGE, 'utf8');
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  const next =
    from === -1
      ? `${page.trimEnd()}\n\n${lines}\n`
      : page.slice(0, from) + lines + page.slice(to + end.length);
  writeFileSync(PAGE, next);
}

function show(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString('en-US');
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function besideOf({ baseline, ratio }: BenchRow): string {
  if (baseline === undefined) return '';
  return `${ratio === undefined ? '' : `${ratio.toFixed(2)} × `}${baseline}`;
}

function ratioOf(row: BenchRow): string {
  return row.baseline === undefined ? '' : ` (${besideOf(row)})`;
}
