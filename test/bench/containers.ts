import { join } from 'node:path';
import Database from 'better-sqlite3';
import { systemClock } from '../../src/kernel/clock.ts';
import type { OrchestratorProcess } from '../docker/orchestrator-process.ts';
import { buildLightImage, buildPlainImage } from '../docker/plain-image.ts';
import { newRuntime, spec } from '../docker/runtime-sandbox.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { bareContainers, perSecond } from './bare-containers.ts';
import { containerMemory } from './container-memory.ts';
import { quantile } from './cycles.ts';
import { type LightFleet, startLightFleet } from './light-fleet.ts';
import type { Report } from './report.ts';

const ROUNDS = 4;
const EACH_ROUND = 16;
const AT_ONCE = 4;
const CRASHES = 20;

/** A fleet in containers on a Docker engine of its own; the workers are light ones, which speak to no WhatsApp. */
export async function bench(report: Report): Promise<void> {
  const trouble = engineTrouble();
  if (trouble !== null) throw new Error(`This needs a Docker engine: ${trouble}.`);
  const engine = await startEngine();
  try {
    await buildPlainImage(engine);
    await buildLightImage(engine);
    await startRate(engine, report);
    await containerMemory(engine, report);
    await fleetOfContainers(engine, report);
  } finally {
    await engine.stop();
  }
}

/** The runtime beside the calls that it cannot do without, round by round. */
async function startRate(engine: TestEngine, report: Report): Promise<void> {
  const runtime = newRuntime(engine, { startsAtOnce: AT_ONCE });
  const specs = Array.from({ length: EACH_ROUND }, (_, n) => spec(`bench-${n}`, 'wait'));
  const bare = await bareContainers(engine);
  const rate = async (start: (n: number) => Promise<unknown>): Promise<number> => {
    const found = await perSecond(EACH_ROUND, AT_ONCE, start);
    await bare.clear();
    return found;
  };
  const mine = (n: number): Promise<unknown> => runtime.ensure(specs[n] ?? spec('none', 'wait'));
  // The first of each makes the engine read its files.
  await rate(bare.start);
  await rate(mine);
  const rates = { bare: [] as number[], mine: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    // In turn first, so that neither gains from what the machine does more and more, or less.
    const measure = {
      bare: async () => rates.bare.push(await rate(bare.start)),
      mine: async () => rates.mine.push(await rate(mine)),
    };
    for (const kind of round % 2 === 0 ? (['bare', 'mine'] as const) : (['mine', 'bare'] as const)) {
      await measure[kind]();
    }
  }
  const ratios = rates.mine.map((rate, round) => rate / (rates.bare[round] ?? Number.NaN));
  const median = (values: number[]): number =>
    quantile(
      values.toSorted((a, b) => a - b),
      0.5,
    );
  const [bareRate, mineRate] = [median(rates.bare), median(rates.mine)];
  report({
    figure: 'bare create, put of the secrets and start, four at once',
    value: bareRate,
    unit: 'containers/s',
  });
  report({
    figure: 'the Docker runtime, four at once',
    value: mineRate,
    unit: 'containers/s',
    baseline: 'the bare calls (median of the rounds)',
    ratio: median(ratios),
  });
  await runtime.close({ graceMs: 0 });
  await bare.close();
}

async function fleetOfContainers(engine: TestEngine, report: Report): Promise<void> {
  const fleet = await startLightFleet(engine, CRASHES);
  try {
    const first: number[] = [];
    const ids: string[] = [];
    for (const phone of fleet.phones) {
      const begun = systemClock.nowMs();
      const id = await fleet.orchestrator.create(phone);
      const { connectedAt } = await fleet.orchestrator.until(id, ['connected']);
      first.push(Date.parse(String(connectedAt)) - begun);
      ids.push(id);
    }
    show(report, 'session created to connected, one by one', first);

    const replaced: { noticed: number; started: number }[] = [];
    for (const id of ids) replaced.push(await replacement(fleet, id));
    show(
      report,
      'a worker killed to its end noticed',
      replaced.map(({ noticed }) => noticed),
    );
    show(
      report,
      'from there to its successor connected, the wait after a crash included',
      replaced.map(({ started }) => started),
    );
  } finally {
    await fleet.stop();
  }
}

/** In milliseconds: until the session's state tells of the end, and from there until it is connected again. */
async function replacement(fleet: LightFleet, id: string): Promise<{ noticed: number; started: number }> {
  const { docker, orchestrator } = fleet;
  const before = (await orchestrator.until(id, ['connected'])).connectedAt;
  const [running] = await docker.listContainers({ filters: { label: [`flotilla.session=${id}`] } });
  const { State: state } = await docker.getContainer(running?.Id ?? '').inspect();
  const begun = systemClock.nowMs();
  process.kill(state.Pid, 'SIGKILL');
  const connected = Date.parse(String(await fleet.reconnected(id, before)));
  const noticedAt = firstChange(orchestrator, id, begun);
  return { noticed: noticedAt - begun, started: connected - noticedAt };
}

/** When the session's state changed first since then, by the orchestrator's record. */
function firstChange(fleet: OrchestratorProcess, id: string, since: number): number {
  const database = new Database(join(fleet.dataDir, 'orchestrator.sqlite'), { readonly: true });
  try {
    const find = database.prepare(
      "SELECT created_at FROM events WHERE type = 'session.state' AND session_id = ? ORDER BY id",
    );
    const times = (find.all(id) as { created_at: string }[]).map(({ created_at }) => Date.parse(created_at));
    return times.find((time) => time >= since) ?? Number.NaN;
  } finally {
    database.close();
  }
}

function show(report: Report, figure: string, values: number[]): void {
  const sorted = values.toSorted((a, b) => a - b);
  report({ figure: `${figure}, p50`, value: quantile(sorted, 0.5), unit: 'ms' });
  report({ figure: `${figure}, p95`, value: quantile(sorted, 0.95), unit: 'ms' });
}
