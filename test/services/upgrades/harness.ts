import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { upgradeAnswer } from '../../../src/protocol/upgrades.ts';
import {
  eventually,
  type FleetSandbox,
  type SandboxOptions,
  startFleetSandbox,
  WORKER_ENTRY,
} from '../../helpers/fleet-sandbox.ts';

/** How a release of the stand-in worker differs from the one that the fleet began with. */
export type Release = 'good' | 'crashes' | 'ends-later' | 'never-connects';

const DEVIATIONS: Record<Release, (source: string) => string> = {
  good: (source) => source,
  crashes: () => "console.error('this release is broken');\nprocess.exit(1);\n",
  'ends-later': (source) => `setTimeout(() => process.exit(1), 700);\n${source}`,
  'never-connects': (source) =>
    source.replace("event('CONNECTED'", "event('QUIET'").replace("'fine'", "'no'"),
};

/** Puts a release where the process runtime looks for it. */
export async function addRelease(box: FleetSandbox, name: string, release: Release): Promise<void> {
  const directory = join(box.dataDir, 'releases', name);
  await mkdir(directory, { recursive: true });
  const source = await readFile(WORKER_ENTRY, 'utf8');
  await writeFile(join(directory, 'main.mjs'), DEVIATIONS[release](source));
}

export interface UpgradeBox extends FleetSandbox {
  ids: string[];
}

/** A fleet with connected sessions, two of each phone, and two releases beside the built-in worker. */
export async function startUpgradeBox(sessions: number, options: SandboxOptions = {}): Promise<UpgradeBox> {
  const box = await startFleetSandbox(options);
  for (const release of ['good', 'crashes', 'ends-later', 'never-connects'] as const) {
    await addRelease(box, release, release);
  }
  const proxies = Array.from({ length: sessions }, (_, n) => `http://127.0.0.1:${8080 + n}`);
  await box.upload('proxies', proxies);
  const ids: string[] = [];
  for (let n = 0; n < sessions; n += 1) {
    const phone = `97250000000${Math.floor(n / 2)}`;
    const { body } = await box.call('POST', '/api/sessions', { phone, provider: `fine-${phone}` });
    ids.push(body.session.id);
  }
  for (const id of ids) await box.until(id, 'connected');
  return { ...box, ids };
}

/** A short upgrade, unless told otherwise. */
export const wish = (image: string, over: Record<string, unknown> = {}) => ({
  image,
  canary: { sessions: 1, watchSeconds: 1 },
  connectSeconds: 100,
  ...over,
});

export type Upgrade = z.infer<typeof upgradeAnswer>['upgrade'];

export async function untilState(box: FleetSandbox, id: string, ...states: string[]): Promise<Upgrade> {
  let upgrade: Upgrade | undefined;
  await eventually(async () => {
    const { body } = await box.call('GET', `/api/upgrades/${id}`);
    upgrade = upgradeAnswer.parse(body).upgrade;
    return states.includes(upgrade.state);
  }, 40_000).catch((error: unknown) => {
    throw new Error(`not ${states.join(' or ')}: ${JSON.stringify(upgrade)}`, { cause: error });
  });
  return upgrade as Upgrade;
}

/** Session id → what its worker was started from. */
export async function images(box: FleetSandbox): Promise<Record<string, string>> {
  const { body } = await box.call('GET', '/api/sessions');
  return Object.fromEntries(
    body.sessions.map((each: { id: string; image: string }) => [each.id, each.image]),
  );
}

/** Session id → how often its worker was started. */
export async function starts(box: FleetSandbox): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { session_id: id, data } of await box.events('session.state')) {
    if (JSON.parse(data).to === 'starting') counts[id ?? ''] = (counts[id ?? ''] ?? 0) + 1;
  }
  return counts;
}

export const all = <T>(ids: readonly string[], value: T): Record<string, T> =>
  Object.fromEntries(ids.map((id) => [id, value]));
