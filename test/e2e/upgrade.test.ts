import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { z } from 'zod';
import { listUpgradesAnswer, upgradeAnswer } from '../../src/protocol/upgrades.ts';
import { patient } from '../patience.ts';
import { API_KEY, contacts, type E2eFleet, seenByPeople, startFleet, untilEnded } from './fleet.ts';

const ROOT = join(import.meta.dirname, '..', '..');
let fleet: E2eFleet;
beforeAll(async () => {
  // libsignal prints the keys of the simulated recipients.
  vi.spyOn(console, 'info').mockReturnValue(undefined);
  vi.spyOn(console, 'warn').mockReturnValue(undefined);
  fleet = await startFleet({ profiles: 3, proxies: 3 });
  const releases = join(fleet.dataDir, 'releases');
  await mkdir(releases);
  await symlink(ROOT, join(releases, 'next'));
});
afterAll(() => fleet?.stop());

async function call(method: string, path: string, body?: unknown): Promise<unknown> {
  const answer = await fetch(fleet.orchestrator.url + path, {
    method,
    headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return await answer.json();
}

type Upgrade = z.infer<typeof upgradeAnswer>['upgrade'];

async function until(id: string, check: (upgrade: Upgrade) => boolean): Promise<Upgrade> {
  const deadline = performance.now() + patient(90_000);
  for (;;) {
    // It is killed meanwhile, and does not answer then.
    const answer = await call('GET', `/api/upgrades/${id}`).catch(() => null);
    const { data } = upgradeAnswer.safeParse(answer);
    const upgrade = data?.upgrade;
    if (upgrade && check(upgrade)) return upgrade;
    if (performance.now() > deadline) throw new Error(`not in time: ${JSON.stringify(upgrade)}`);
    await sleep(100);
  }
}

test('an upgrade while messages go out, with the orchestrator killed half-way: none lost, none doubled, no QR code', {
  timeout: patient(240_000),
}, async () => {
  const people = contacts(90, '56');
  const before = await fleet.api.sessions();
  const jobId = await fleet.api.postTexts(people, 'Hello {{name}}.');
  const wish = { image: 'next', canary: { sessions: 1, watchSeconds: 2 }, parallel: 1 };
  const { upgrade } = upgradeAnswer.parse(await call('POST', '/api/upgrades', wish));
  await until(
    upgrade.id,
    ({ state, totals }) => state === 'rolling' && totals.upgraded + totals.underWay >= 2,
  );
  await fleet.restart('SIGKILL');
  const done = await until(upgrade.id, ({ state }) => state === 'done' || state === 'failed');
  expect(done).toMatchObject({ state: 'done', totals: { upgraded: 3, failed: 0, left: 0 } });

  const { totals } = await untilEnded(fleet, jobId, 60_000);
  expect(totals).toMatchObject({ failed: 0, cancelled: 0 });
  const seen = seenByPeople(fleet.simulator);
  for (const { name, phone } of people) expect(seen.get(phone), phone).toEqual([`Hello ${name}.`]);
  const { sameContent, sharedIds, overlapping } = fleet.simulator.overview();
  expect({ sameContent, sharedIds, overlapping }).toEqual({ sameContent: 0, sharedIds: 0, overlapping: 0 });

  const { image, workers } = listUpgradesAnswer.parse(await call('GET', '/api/upgrades'));
  expect({ image, workers }).toEqual({ image: 'next', workers: { next: 3 } });
  const after = await fleet.api.sessions();
  expect(after.map(({ id, proxy }) => `${id} ${proxy}`)).toEqual(
    before.map(({ id, proxy }) => `${id} ${proxy}`),
  );

  // And back again, with nothing but a word.
  await call('POST', `/api/upgrades/${upgrade.id}/rollback`);
  await until(upgrade.id, ({ state }) => state === 'rolled_back');
  expect(await call('GET', '/api/upgrades')).toMatchObject({
    image: 'built-in',
    workers: { 'built-in': 3 },
  });
});
