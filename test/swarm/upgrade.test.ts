import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { eventually, type FleetSandbox, startFleetSandbox } from '../helpers/fleet-sandbox.ts';
import { buildStandInImages, STAND_IN } from '../helpers/stand-in-images.ts';
import { all, starts, untilState, wish } from '../services/upgrades/harness.ts';
import { GATEWAY } from './network.ts';
import type { SwarmNode } from './node.ts';
import { endContainers, FLEET, leftovers, newRuntime, removeLeftovers, startManager } from './sandbox.ts';

const trouble = engineTrouble();
const SESSIONS = 3;

describe.skipIf(trouble !== null)(`an upgrade${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let node: SwarmNode;
  let box: FleetSandbox;
  let ids: string[];
  /** Image name → its id: services name those that were built here by their id. */
  let idOf: Record<string, string>;
  beforeAll(async () => {
    node = await startManager();
    await buildStandInImages(node);
    const names = Object.values(STAND_IN);
    const found = (await node.docker(['image', 'inspect', '-f', '{{.Id}}', ...names])).split('\n');
    idOf = Object.fromEntries(names.map((name, n) => [name, found[n] ?? '']));
    expect(new Set(found).size).toBe(names.length);
  });
  afterAll(async () => {
    await node?.stop();
  });

  beforeEach(async () => {
    box = await startFleetSandbox({
      host: GATEWAY,
      runtime: () => newRuntime(node, { image: STAND_IN.old }),
    });
    await box.upload(
      'proxies',
      Array.from({ length: SESSIONS }, (_, n) => `http://10.0.0.${n + 1}:8080`),
    );
    ids = await Promise.all(
      Array.from({ length: SESSIONS }, async (_, n) => {
        const phone = `97250000000${n}`;
        const { body } = await box.call('POST', '/api/sessions', { phone, provider: `fine-${phone}` });
        return body.session.id as string;
      }),
    );
    await Promise.all(ids.map((id) => box.until(id, 'connected')));
  });
  afterEach(async () => {
    try {
      await Promise.all(ids.map((id) => box.call('DELETE', `/api/sessions/${id}`)));
      await endContainers(node);
      await eventually(async () => (await box.runtime.list()).length === 0, 30_000);
      await box.stop();
      await eventually(async () => (await leftovers(node)) === '');
    } catch (error) {
      // So that it is this test alone that is red.
      await removeLeftovers(node);
      throw error;
    }
  });

  /** Session id → what the swarm runs it from, and in which container. */
  const containers = async (): Promise<Record<string, { image: string; id: string }>> => {
    const running = (await node.docker(['ps', '-q', '--filter', `label=flotilla.fleet=${FLEET}`])).split(
      '\n',
    );
    const format = '{{.Id}} {{.Image}} {{index .Config.Labels "flotilla.session"}}';
    const lines = await node.docker(['inspect', '-f', format, ...running.filter(Boolean)]);
    return Object.fromEntries(
      lines.split('\n').map((line) => {
        const [id = '', image = '', session = ''] = line.split(' ');
        return [session, { id, image }];
      }),
    );
  };
  const imagesThere = async (): Promise<Record<string, string>> =>
    Object.fromEntries(Object.entries(await containers()).map(([id, { image }]) => [id, image]));
  const order = async (id: string, what: string): Promise<void> => {
    const answer = await box.call('POST', `/api/upgrades/${id}/${what}`);
    expect([what, answer.status]).toEqual([what, 200]);
  };

  test('a bad image gets no further than its canary, which goes back by itself', async () => {
    const before = await containers();
    expect(await imagesThere()).toEqual(all(ids, idOf[STAND_IN.old]));
    const { body } = await box.call(
      'POST',
      '/api/upgrades',
      wish(STAND_IN.bad, {
        onFailure: 'rollback',
        canary: { sessions: 1, watchSeconds: 5 },
        connectSeconds: 100,
      }),
    );
    const [canary = ''] = body.upgrade.canary.sessions;
    const ended = await untilState(box, body.upgrade.id, 'rolled_back', 'done', 'failed');
    expect(ended).toMatchObject({ state: 'rolled_back', totals: { returned: 1, upgraded: 0 } });
    await box.until(canary, 'connected');
    const after = await containers();
    expect(after[canary]?.image).toBe(idOf[STAND_IN.old]);
    expect(after[canary]?.id).not.toBe(before[canary]?.id);
    for (const id of ids.filter((each) => each !== canary)) expect(after[id]).toEqual(before[id]);
  });

  test('a good image goes on from its canary, holds still while it is paused, and goes back when told to', async () => {
    const before = await containers();
    const { body } = await box.call('POST', '/api/upgrades', {
      ...wish(STAND_IN.good, { parallel: 1, connectSeconds: 100 }),
      canary: { sessions: 1, watchSeconds: 3 },
    });
    const { id, canary } = body.upgrade;
    await untilState(box, id, 'canary');
    await eventually(async () => {
      const { upgrade } = (await box.call('GET', `/api/upgrades/${id}`)).body;
      return upgrade.totals.underWay === 1 || upgrade.totals.upgraded === 1;
    });
    await order(id, 'pause');
    // What is under way comes to its end; beyond the time of the watch nothing else is touched.
    const [first = ''] = canary.sessions;
    await eventually(async () => (await imagesThere())[first] === idOf[STAND_IN.good], 30_000);
    await box.until(first, 'connected');
    await sleep(4000);
    const paused = await containers();
    for (const each of ids.filter((other) => other !== first)) expect(paused[each]).toEqual(before[each]);

    await order(id, 'resume');
    const done = await untilState(box, id, 'done', 'failed');
    expect(done).toMatchObject({ state: 'done', totals: { upgraded: SESSIONS, failed: 0, left: 0 } });
    expect(await imagesThere()).toEqual(all(ids, idOf[STAND_IN.good]));
    // Each was replaced once, also the one that was on its way when all was paused.
    expect(await starts(box)).toEqual(all(ids, 2));

    await order(id, 'rollback');
    await untilState(box, id, 'rolled_back', 'failed');
    expect(await imagesThere()).toEqual(all(ids, idOf[STAND_IN.old]));
    expect(await starts(box)).toEqual(all(ids, 3));
    await Promise.all(ids.map((each) => box.until(each, 'connected')));
  });
});
