import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { removeAll } from '../helpers/engine-contents.ts';
import { type FleetSandbox, startFleetSandbox } from '../helpers/fleet-sandbox.ts';
import { buildStandInImages, STAND_IN } from '../helpers/stand-in-images.ts';
import { patient } from '../patience.ts';
import { all, images, starts, untilState, wish } from '../services/upgrades/harness.ts';
import { FLEET, leftovers, newRuntime } from './runtime-sandbox.ts';

const trouble = engineTrouble();
const SESSIONS = 4;

describe.skipIf(trouble !== null)(`an upgrade${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let engine: TestEngine;
  let box: FleetSandbox;
  let ids: string[];
  beforeAll(async () => {
    engine = await startEngine();
    await buildStandInImages(engine);
  });
  afterAll(async () => {
    await engine?.stop();
  });

  beforeEach(async () => {
    box = await startFleetSandbox({
      host: engine.gateway,
      runtime: () => newRuntime(engine, { image: STAND_IN.old }),
    });
    await box.upload(
      'proxies',
      Array.from({ length: SESSIONS }, (_, n) => `http://10.0.0.${n + 1}:8080`),
    );
    ids = [];
    for (let n = 0; n < SESSIONS; n += 1) {
      const phone = `97250000000${n}`;
      const { body } = await box.call('POST', '/api/sessions', { phone, provider: `fine-${phone}` });
      ids.push(body.session.id);
    }
    for (const id of ids) await box.until(id, 'connected');
  });
  afterEach(async () => {
    await Promise.all(ids.map((id) => box.call('DELETE', `/api/sessions/${id}`)));
    await untilGone();
    await box.stop();
    const left = await leftovers(engine);
    // So that it is this test alone that is red.
    await removeAll(engine.docker);
    expect(left).toBe('');
  });

  const untilGone = async (): Promise<void> => {
    const deadline = performance.now() + patient(30_000);
    while ((await box.runtime.list()).length > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  /** Session id → image, as the engine says; and when each container was made. */
  const containers = async (): Promise<Record<string, { image: string; id: string }>> => {
    const format = '{{.ID}} {{.Image}} {{.Label "flotilla.session"}}';
    const lines = await engine.docker([
      'ps',
      '--filter',
      `label=flotilla.fleet=${FLEET}`,
      '--format',
      format,
    ]);
    return Object.fromEntries(
      lines.split('\n').map((line) => {
        const [id = '', image = '', session = ''] = line.split(' ');
        return [session, { id, image }];
      }),
    );
  };

  test('to a bad image: the canary fails and goes back, and the containers of the others were never touched', async () => {
    const before = await containers();
    expect(Object.values(before).map(({ image }) => image)).toEqual(ids.map(() => STAND_IN.old));
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
    expect(after[canary]).toMatchObject({ image: STAND_IN.old });
    expect(after[canary]?.id).not.toBe(before[canary]?.id);
    for (const id of ids.filter((each) => each !== canary)) expect(after[id]).toEqual(before[id]);
  });

  test('to a good image: all are replaced, one by one, each once', async () => {
    const before = await containers();
    const { body } = await box.call(
      'POST',
      '/api/upgrades',
      wish(STAND_IN.good, { parallel: 1, connectSeconds: 100 }),
    );
    const ended = await untilState(box, body.upgrade.id, 'done', 'failed');
    expect(ended).toMatchObject({ state: 'done', totals: { upgraded: SESSIONS, failed: 0, left: 0 } });
    expect(await images(box)).toEqual(all(ids, STAND_IN.good));
    expect(await starts(box)).toEqual(all(ids, 2));
    const after = await containers();
    for (const id of ids) {
      expect(after[id]?.image).toBe(STAND_IN.good);
      expect(after[id]?.id).not.toBe(before[id]?.id);
    }
    // One by one: the next one went when the one before was back.
    const states = (await box.events('session.state'))
      .slice(SESSIONS * 2)
      .map(({ data }) => JSON.parse(data).to);
    expect(states.filter((to) => to === 'starting' || to === 'connected')).toEqual(
      ids.flatMap(() => ['starting', 'connected']),
    );
  });

  test('to an image that nobody has: nothing is touched, and the reason says so', async () => {
    const before = await containers();
    const { body } = await box.call('POST', '/api/upgrades', wish('127.0.0.1:1/flotilla-worker:9'));
    const ended = await untilState(box, body.upgrade.id, 'failed');
    expect(ended.reason).toContain('127.0.0.1:1/flotilla-worker:9 is not on local and cannot be pulled');
    expect(await containers()).toEqual(before);
    expect((await box.call('POST', '/api/upgrades', wish('No Image'))).body.code).toBe('invalid_image');
    const back = await box.call('POST', `/api/upgrades/${body.upgrade.id}/rollback`);
    expect(back.status).toBe(200);
    await untilState(box, body.upgrade.id, 'rolled_back');
    expect(await containers()).toEqual(before);
  });
});
