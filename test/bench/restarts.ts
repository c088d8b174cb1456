import { buildLightImage, buildPlainImage } from '../docker/plain-image.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { bareContainers, perSecond } from './bare-containers.ts';
import { startLightFleet } from './light-fleet.ts';
import type { Report } from './report.ts';

const SESSIONS = 100;
const AT_ONCE = 4;
const BARE = 32;

/** A whole fleet of light workers created and restarted, beside the bare calls for as many containers. */
export async function bench(report: Report): Promise<void> {
  const trouble = engineTrouble();
  if (trouble !== null) throw new Error(`This needs a Docker engine: ${trouble}.`);
  const engine = await startEngine();
  try {
    await buildPlainImage(engine);
    await buildLightImage(engine);
    const bare = await bareRates(engine);
    const fleet = await rates(engine);
    report({ figure: 'bare create and start, four at once', value: bare.start, unit: 'containers/s' });
    report({
      figure: `${SESSIONS} sessions created, until all are connected`,
      value: SESSIONS / fleet.start,
      unit: 's',
    });
    report({
      figure: 'that is',
      value: fleet.start,
      unit: 'sessions/s',
      baseline: 'bare create and start',
      ratio: fleet.start / bare.start,
    });
    report({
      figure: 'bare stop, remove, create and start, four at once',
      value: bare.replace,
      unit: 'containers/s',
    });
    report({
      figure: `${SESSIONS} sessions restarted at once, until all are connected`,
      value: SESSIONS / fleet.restart,
      unit: 's',
    });
    report({
      figure: 'that is',
      value: fleet.restart,
      unit: 'sessions/s',
      baseline: 'bare stop, remove, create and start',
      ratio: fleet.restart / bare.replace,
    });
  } finally {
    await engine.stop();
  }
}

/** A second, without anything that runs in the containers taking part. */
async function bareRates(engine: TestEngine): Promise<{ start: number; replace: number }> {
  const bare = await bareContainers(engine);
  try {
    // The first makes the engine read its files.
    await perSecond(AT_ONCE, AT_ONCE, bare.start);
    await bare.clear();
    return {
      start: await perSecond(BARE, AT_ONCE, bare.start),
      replace: await perSecond(BARE, AT_ONCE, bare.replace),
    };
  } finally {
    await bare.close();
  }
}

/** Sessions a second, from the first call until the last is connected. */
async function rates(engine: TestEngine): Promise<{ start: number; restart: number }> {
  const { orchestrator, phones, reconnected, stop } = await startLightFleet(engine, SESSIONS);
  try {
    const begun = performance.now();
    const ids: string[] = [];
    for (const phone of phones) ids.push(await orchestrator.create(phone));
    const connections = new Map<string, unknown>();
    for (const id of ids) {
      connections.set(id, (await orchestrator.until(id, ['connected'], 300_000)).connectedAt);
    }
    const start = SESSIONS / ((performance.now() - begun) / 1000);
    const restarted = performance.now();
    await Promise.all(ids.map((id) => orchestrator.call('POST', `/api/sessions/${id}/restart`)));
    for (const id of ids) await reconnected(id, connections.get(id));
    return { start, restart: SESSIONS / ((performance.now() - restarted) / 1000) };
  } finally {
    await stop();
  }
}
