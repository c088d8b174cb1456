import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { copySources } from './copy-sources.ts';
import { FAULTS } from './faults.ts';
import { help } from './help.ts';
import { allHolds, checksOf, lineOf, report } from './report.ts';
import { forget, type RunResult, run } from './run.ts';
import { breakCopy, SABOTAGES } from './sabotage.ts';

/** So long the end of the process may take. */
const LAST_SECONDS = 20;
const CLOSING_MS = 2000;
const OURS_AT_THE_END = new Set(['ProcessWrap', 'PipeWrap', 'TTYWrap']);
const ROOT = join(import.meta.dirname, '..', '..');

const { values } = parseArgs({
  options: {
    help: { type: 'boolean', default: false },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    seconds: { type: 'string' },
    faults: { type: 'string' },
    /** Sixty seconds and a dozen faults. */
    short: { type: 'boolean', default: false },
    /** Breaks a copy of the product in a named way, or in `all` one after the other; a run has to notice. */
    sabotage: { type: 'string' },
    /** Comma-separated kinds of faults. */
    only: { type: 'string' },
    /** Each fault on its own, so that what follows is its own. */
    'one-by-one': { type: 'boolean', default: false },
    /** Real workers with real clients on the simulated WhatsApp: six of them, under less load. */
    real: { type: 'boolean', default: false },
    /** Tells of the slowest recovery of each kind what it waited for. */
    explain: { type: 'boolean', default: false },
    /** Keeps logs and data. */
    keep: { type: 'boolean', default: false },
    /** Writes how many checks held, in the shape of a report of tests, and the times of recovery with their reasons. */
    report: { type: 'string' },
  },
});

const say = (text: string): void => void process.stdout.write(`${text}\n`);
if (values.help) {
  say(help());
  process.exit(0);
}
const seconds = Number(values.seconds ?? (values.short || values.sabotage ? 55 : values.real ? 200 : 450));
const faults = Number(values.faults ?? Math.ceil(seconds / 4.5));

const isRight =
  values.sabotage === 'all'
    ? await allSabotages()
    : (await once(values.sabotage)).good === (values.sabotage === undefined);
// What has just been closed takes a turn or two to be gone, and longer on a busy machine.
for (const until = performance.now() + CLOSING_MS; stillOpen().length > 0 && performance.now() < until; ) {
  await sleep(20);
}
endNow(isRight ? 0 : 1);

/**
 * Whatever is still open. Node has been seen to spin for ever while it cleaned up behind a run: then somebody else
 * ends it, which is a failure.
 */
function endNow(code: number): never {
  const watch = `timeout ${LAST_SECONDS} cat > /dev/null; [ $? = 124 ] && kill -KILL ${process.pid}`;
  spawn('/bin/sh', ['-c', watch], { stdio: ['pipe', 'ignore', 'ignore'], detached: true }).unref();
  const left = stillOpen();
  if (left.length > 0) say(`still open: ${left.join(', ')}`);
  process.exit(code);
}

/** Kinds of handles; of sockets also where they lead, which says whose they are. */
function stillOpen(): string[] {
  const kinds = process.getActiveResourcesInfo().filter((kind) => !OURS_AT_THE_END.has(kind));
  if (kinds.length === 0) return [];
  const { _getActiveHandles: handles } = process as unknown as { _getActiveHandles(): unknown[] };
  const sockets = handles().filter((handle) => handle instanceof Socket && handle.remotePort !== undefined);
  return [
    ...kinds,
    ...(sockets as Socket[]).map(({ localPort, remotePort }) => `${localPort}-${remotePort}`),
  ];
}

/** @param sabotage after which the run has to be red */
async function once(sabotage: string | undefined): Promise<{ good: boolean; result: RunResult }> {
  const known = sabotage === undefined ? undefined : SABOTAGES[sabotage];
  if (sabotage !== undefined && !known)
    throw new Error(`There is no sabotage ${sabotage}. There are: ${Object.keys(SABOTAGES).join(', ')}.`);
  const kinds = values.only?.split(',') ?? known?.kinds ?? [];
  for (const kind of kinds) if (!(kind in FAULTS)) throw new Error(`There is no fault ${kind}.`);
  const sources = await copySources(ROOT);
  try {
    if (sabotage !== undefined) await breakCopy(sources, sabotage);
    say(`seed ${values.seed}, ${seconds} s, ${faults} faults${sabotage ? `, sabotage ${sabotage}` : ''}`);
    const { 'one-by-one': oneByOne, real, keep } = values;
    const seed = Number(values.seed);
    // The longer and the more of them hang, the surer somebody takes a place that was given up too early.
    const [hangMs, hanging] = sabotage === undefined ? [3500, 2] : [9500, 4];
    const result = await run({
      seed,
      seconds,
      faults,
      kinds,
      oneByOne,
      real,
      keep,
      hangMs,
      hanging,
      sources,
      say,
    });
    report(result, say, values.explain);
    const good = allHolds(result);
    if (values.report) await writeReport(values.report, result);
    if ((good || sabotage !== undefined) && !values.keep) await forget(result.dir);
    else say(`logs and data: ${result.dir}`);
    return { good, result };
  } finally {
    await forget(sources);
  }
}

/** @returns whether each was noticed */
async function allSabotages(): Promise<boolean> {
  const lines: string[] = [];
  let noticed = 0;
  for (const name of Object.keys(SABOTAGES)) {
    const { good, result } = await once(name);
    lines.push(`${name}: ${good ? 'NOT NOTICED' : 'noticed'} (${lineOf(result)})`);
    noticed += good ? 0 : 1;
  }
  for (const line of lines) say(line);
  return noticed === lines.length;
}

async function writeReport(file: string, result: RunResult): Promise<void> {
  const found = Object.values(checksOf(result));
  const numPassedTests = found.filter((all) => all.length === 0).length;
  const line = `chaos: ${lineOf(result)}`;
  const recoveries = result.recoveries.map(({ waits: _, ...times }, index) => ({
    ...times,
    ...result.explained[index],
  }));
  const counts = { numPassedTests, numFailedTests: found.length - numPassedTests, line, recoveries };
  await writeFile(file, JSON.stringify(counts));
}
