import { afterEach, expect, test } from 'vitest';
import { eventually, type FleetSandbox, startFleetSandbox } from '../../helpers/fleet-sandbox.ts';
import { addRelease, all, images, starts, startUpgradeBox, untilState, wish } from './harness.ts';

const boxes: FleetSandbox[] = [];
afterEach(async () => {
  for (const box of boxes.splice(0).reverse()) await box.stop();
});

test('the leader goes in the middle of the watch; the next one goes on, and blames nobody', async () => {
  const first = await startUpgradeBox(4, { leaseMs: 1000 });
  boxes.push(first);
  await eventually(() => first.fleet.runner.leads);
  const second = await startFleetSandbox({ beside: first, leaseMs: 1000 });
  boxes.push(second);
  await addRelease(second, 'good', 'good');
  const request = wish('good', { canary: { sessions: 1, watchSeconds: 4 } });
  // Whoever leads carries out what the other one was asked for.
  const { body } = await second.call('POST', '/api/upgrades', request);
  const { id, canary } = body.upgrade;
  await eventually(async () => {
    const { upgrade } = (await second.call('GET', `/api/upgrades/${id}`)).body;
    return upgrade.canary.watchedSeconds >= 1;
  }, 20_000);
  await first.fleet.service.stop();
  await eventually(() => second.fleet.runner.leads);
  const watched = (await second.call('GET', `/api/upgrades/${id}`)).body.upgrade.canary.watchedSeconds;
  expect(watched).toBeLessThan(4);
  const [tried = ''] = canary.sessions;
  await second.until(tried, 'connected');
  // What it was is in SQL: its worker is started from the new image again, before the upgrade goes on.
  expect((await images(second))[tried]).toBe('good');
  const done = await untilState(second, id, 'done', 'failed');
  expect(done).toMatchObject({ state: 'done', totals: { upgraded: 4, failed: 0 } });
  expect(await images(second)).toEqual(all(first.ids, 'good'));
  const transitions = (await second.events('upgrade.state')).map(({ data }) => JSON.parse(data).to);
  expect(transitions).toEqual(['canary', 'rolling', 'done']);
});

test('Redis comes back with nothing: the upgrade and the image of each session are still known', async () => {
  const box = await startUpgradeBox(4, { leaseMs: 1000 });
  boxes.push(box);
  const { body } = await box.call(
    'POST',
    '/api/upgrades',
    wish('good', { canary: { sessions: 0 }, parallel: 1, maxFailed: 100 }),
  );
  const { id } = body.upgrade;
  await eventually(async () => Object.values(await images(box)).includes('good'), 20_000);
  await box.testRedis.kill();
  await box.testRedis.restart({ keepData: false });
  await box.upload(
    'proxies',
    [8080, 8081, 8082, 8083].map((port) => `http://127.0.0.1:${port}`),
  );
  const done = await untilState(box, id, 'done');
  expect(done.totals.left).toBe(0);
  for (const session of box.ids) await box.until(session, 'connected');
  expect(await images(box)).toEqual(all(box.ids, 'good'));
  expect(Object.values(await starts(box)).every((count) => count >= 2)).toBe(true);
  expect((await box.call('GET', '/api/upgrades')).body.image).toBe('good');
});
