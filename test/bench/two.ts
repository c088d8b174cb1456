import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { systemClock } from '../../src/kernel/clock.ts';
import { type CycleClient, type Measured, quantile, startCycleClient } from './cycles.ts';
import { SCALE } from './http.ts';
import { type BenchSystem, startSystem } from './orchestrators.ts';
import type { Report } from './report.ts';
import { ROUNDS, Rounds, warmSecondsOf } from './rounds.ts';
import { startWaitingPolls } from './waiting-polls.ts';

const POLLS = 1000;
const SEND_SECONDS = 10;
/** Of a core, for each orchestrator: as if each had a small machine of its own, and Redis and the client another. */
const SHARE = 0.4;
/** Requests under way at once: one is served faster with fewer of them, two with more; the faster of both counts. */
const LANES = [64, 256];
const ONE = 'cycles through one orchestrator';
const TWO = 'cycles through two';
const MAIN = 'CPU of the main threads,';
const ALL = 'CPU of all threads,';

/**
 * Two orchestrators on one Redis: what crosses from one to the other, and what the second one adds. On a machine of
 * two cores one orchestrator, Redis and the client already fill it; so each orchestrator is held to a share of a
 * core, where the kernel lets us, and the rate of one is set against that of two.
 */
export async function bench(report: Report): Promise<void> {
  const system = await startSystem(2);
  const client = startCycleClient();
  const [one = '', other = ''] = system.orchestrators.map(({ url }) => url);
  const polls = startWaitingPolls({
    workerUrl: one,
    enqueueUrl: other,
    headers: system.headers,
    polls: POLLS,
  });
  try {
    await systemClock.sleep(3000);
    await polls.open();
    await polls.send(SEND_SECONDS / 2); // warm
    const latencies = await polls.send(SEND_SECONDS);
    const name = 'polls wait at one, tasks come at the other, 200 a second';
    report({ figure: `${name}, p50`, value: quantile(latencies, 0.5), unit: 'ms' });
    report({ figure: `${name}, p99`, value: quantile(latencies, 0.99), unit: 'ms' });
    report({
      figure: 'tasks not claimed within a second',
      value: SEND_SECONDS * 200 - latencies.length,
      unit: '',
    });
    polls.stop();
    await compareRates(system, client, report);
  } finally {
    polls.stop();
    client.stop();
    await system.stop();
  }
}

async function compareRates(system: BenchSystem, client: CycleClient, report: Report): Promise<void> {
  const held = system.orchestrators.map(({ pid }) => holdTo(SHARE, pid));
  const limit = held.every((release) => release !== null)
    ? `each held to ${SHARE} of a core`
    : 'not held back';
  try {
    const rounds = new Rounds();
    for (let round = 0; round < ROUNDS; round++) {
      for (const [count, through] of [
        [1, ONE],
        [2, TWO],
      ] as const) {
        const some = system.orchestrators.slice(0, count);
        const urls = some.map(({ url }) => url);
        const to = { enqueueUrls: urls, workerUrls: urls, headers: system.headers };
        const got: Measured[] = [];
        for (const lanes of LANES) {
          // Held to a part of a core it takes longer to be warm.
          const warmSeconds = warmSecondsOf(lanes === LANES[0] ? round : 1) / SHARE;
          const order = { ...SCALE, ...to, lanes, warmSeconds, how: 'cycle', batch: 1 } as const;
          const pids = some.map(({ pid }) => pid);
          got.push(await client.run(order, pids));
        }
        const [best] = got.sort((a, b) => b.perSecond - a.perSecond);
        if (!best) continue;
        rounds.note(through, best.perSecond);
        rounds.note(`${MAIN} ${through}`, best.mainThreadMicros);
        rounds.note(`${ALL} ${through}`, best.cpuMicros);
      }
    }
    const show = (figure: string, unit: string, baseline?: string, suffix = ''): void =>
      report({
        figure: figure + suffix,
        value: rounds.median(figure),
        unit,
        ...(baseline && { baseline: ONE, ratio: rounds.ratio(figure, baseline) }),
      });
    show(ONE, 'tasks/s', undefined, `, ${limit}`);
    show(TWO, 'tasks/s', ONE, `, ${limit}`);
    // What the second one adds where there is room for it: nothing but what a cycle costs more is lost.
    for (const cpu of [MAIN, ALL]) {
      show(`${cpu} ${ONE}`, 'µs');
      show(`${cpu} ${TWO}`, 'µs', `${cpu} ${ONE}`);
    }
  } finally {
    for (const release of held) release?.();
  }
}

const GROUPS = '/sys/fs/cgroup/cpu';

/** @returns lets it go; null where control groups of the first kind are not to be had (no root, or only the second) */
function holdTo(share: number, pid: number): (() => void) | null {
  const group = `${GROUPS}/flotilla-bench-${pid}`;
  try {
    mkdirSync(group);
    // A short period: the wait for the next one is part of what is measured.
    writeFileSync(`${group}/cpu.cfs_period_us`, '10000');
    writeFileSync(`${group}/cpu.cfs_quota_us`, String(share * 10_000));
    writeFileSync(`${group}/cgroup.procs`, String(pid));
  } catch {
    return null;
  }
  return () => {
    writeFileSync(`${GROUPS}/cgroup.procs`, String(pid));
    rmdirSync(group);
  };
}
