import { afterEach, expect, test } from 'vitest';
import { eventually, type SandboxOptions } from '../../helpers/fleet-sandbox.ts';
import {
  addRelease,
  all,
  images,
  starts,
  startUpgradeBox,
  type UpgradeBox,
  untilState,
  wish,
} from './harness.ts';

const boxes: UpgradeBox[] = [];
afterEach(async () => {
  for (const box of boxes.splice(0).reverse()) await box.stop();
});

async function start(sessions: number, options: SandboxOptions = {}): Promise<UpgradeBox> {
  const box = await startUpgradeBox(sessions, options);
  boxes.push(box);
  return box;
}

const post = async (box: UpgradeBox, path: string, body?: unknown) => {
  const answer = await box.call('POST', `/api/upgrades${path}`, body ?? {});
  return { ...answer, code: `${answer.status} ${answer.body.code ?? answer.body.upgrade.state}` };
};

test('a good release: one canary, then the rest, each session once, and new ones run from it', async () => {
  const box = await start(5);
  const { body, status } = await post(box, '', wish('good', { parallel: 2 }));
  expect({ status, body }).toMatchObject({
    status: 202,
    body: {
      upgrade: { image: 'good', fromImage: 'built-in', canary: { watchSeconds: 1 }, totals: { left: 5 } },
    },
  });
  const { id } = body.upgrade;
  const canary = body.upgrade.canary.sessions[0];
  await untilState(box, id, 'rolling');
  // The rest was not touched before the canary had been watched.
  const before = (await box.events()).filter(({ type }) => type === 'upgrade.state').at(-1);
  expect(JSON.parse(before?.data ?? '{}')).toMatchObject({ from: 'canary', to: 'rolling' });

  const done = await untilState(box, id, 'done');
  expect(done).toMatchObject({ totals: { left: 0, upgraded: 5, failed: 0, underWay: 0 }, reason: null });
  expect(done.canary.watchedSeconds).toBeGreaterThanOrEqual(1);
  expect(await images(box)).toEqual(all(box.ids, 'good'));
  expect(await starts(box)).toEqual(all(box.ids, 2));
  for (const session of box.ids)
    expect(await box.until(session, 'connected')).toMatchObject({ reason: null });

  // Never two of a phone at the same time: each came back before the other one went.
  const moves = (await box.events('session.state')).slice(5 * 2).map(({ session_id, data }) => ({
    phone: Math.floor(box.ids.indexOf(session_id ?? '') / 2),
    to: JSON.parse(data).to,
  }));
  for (const phone of [0, 1]) {
    const seen = moves.filter((move) => move.phone === phone).map(({ to }) => to);
    const one = ['reconnecting', 'pending', 'starting', 'connected'];
    expect(seen).toEqual([...one, ...one]);
  }
  const first = (await box.events('upgrade.session'))[0];
  expect(first?.session_id).toBe(canary);

  const fresh = await box.call('POST', '/api/sessions', {
    phone: '972500000009',
    provider: 'fine-972500000009',
  });
  expect(await box.until(fresh.body.session.id, 'connected')).toMatchObject({ image: 'good' });
  const list = await box.call('GET', '/api/upgrades');
  expect(list.body).toMatchObject({ image: 'good', workers: { good: 6 }, upgrades: [{ id, state: 'done' }] });
  expect((await post(box, '', wish('good'))).code).toBe('409 nothing_to_upgrade');
  expect((await post(box, `/${id}/pause`)).code).toBe('409 upgrade_over');
});

test('a bad release: the canary fails, goes back, and no other session was touched', async () => {
  const box = await start(4);
  const { body } = await post(box, '', wish('crashes', { onFailure: 'rollback' }));
  const [canary = ''] = body.upgrade.canary.sessions;
  const ended = await untilState(box, body.upgrade.id, 'rolled_back');
  expect(ended).toMatchObject({ totals: { returned: 1, upgraded: 0 } });
  await box.until(canary, 'connected');
  expect(await images(box)).toEqual(all(box.ids, 'built-in'));
  const counts = await starts(box);
  delete counts[canary];
  expect(counts).toEqual(
    all(
      box.ids.filter((id) => id !== canary),
      1,
    ),
  );
  const alert = (await box.events('alert.raised')).map(({ data }) => JSON.parse(data));
  expect(alert).toMatchObject([{ condition: 'upgrade_failed' }]);
  expect(alert[0].message).toContain('this release is broken');
  expect(await box.events('alert.cleared')).toHaveLength(1);
  // The next one may come.
  expect((await post(box, '', wish('good'))).status).toBe(202);
});

test.each([
  ['ends-later', 100, 'its worker ended'],
  ['never-connects', 3, 'it was not connected within 3 s'],
])('a release that %s stops the upgrade; a person takes it back', async (release, connectSeconds, reason) => {
  const box = await start(3);
  const canaries = [box.ids[2]];
  const request = wish(release, { canary: { sessions: canaries, watchSeconds: 3 }, connectSeconds });
  const { body } = await post(box, '', request);
  const { id } = body.upgrade;
  const failed = await untilState(box, id, 'failed');
  expect(failed.reason).toContain(`canary ${box.ids[2]}: ${reason}`);
  expect(failed.canary.sessions).toEqual(canaries);
  expect((await post(box, '', wish('good'))).code).toBe('409 upgrade_in_progress');
  expect((await post(box, `/${id}/rollback`)).code).toBe('200 rolling_back');
  await untilState(box, id, 'rolled_back');
  expect((await post(box, `/${id}/rollback`)).code).toBe('200 rolled_back');
  await box.until(canaries[0] ?? '', 'connected');
  expect(await images(box)).toEqual(all(box.ids, 'built-in'));
});

test('messages that fail on the new release stop the upgrade, those to nobody do not', async () => {
  const box = await start(2);
  const { body } = await post(
    box,
    '',
    wish('good', { canary: { sessions: 1, watchSeconds: 30 }, maxFailedSends: 1 }),
  );
  const [canary = ''] = body.upgrade.canary.sessions;
  await eventually(async () => (await images(box))[canary] === 'good');
  const fail = async (id: string, reason: string) => {
    const at = new Date().toISOString();
    await box.database.db
      .insertInto('tasks')
      .values({
        id,
        session_id: canary,
        state: 'failed',
        reason,
        payload: '{}',
        position: 0,
        attempts: 5,
        created_at: at,
      })
      .execute();
  };
  await box.until(canary, 'connected');
  for (const n of [1, 2, 3]) await fail(`nobody-${n}`, 'not_on_whatsapp: The number is not on WhatsApp.');
  await fail('broken-1', 'whatsapp_479: refused');
  await new Promise((resolve) => setTimeout(resolve, 6000));
  expect((await untilState(box, body.upgrade.id, 'canary')).reason).toBeNull();
  await fail('broken-2', 'whatsapp_479: refused');
  expect((await untilState(box, body.upgrade.id, 'failed')).reason).toContain(
    '2 of its messages have failed',
  );
});

test('pause holds it, resume goes on, a failure can be tried again', async () => {
  const box = await start(4);
  const { body } = await post(box, '', wish('good', { canary: { sessions: 0 }, parallel: 1 }));
  const { id } = body.upgrade;
  await untilState(box, id, 'rolling');
  expect((await post(box, `/${id}/pause`)).code).toBe('200 paused');
  expect((await post(box, `/${id}/pause`)).code).toBe('200 paused');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const paused = (await box.call('GET', `/api/upgrades/${id}`)).body.upgrade;
  const count = Object.values(await images(box)).filter((image) => image === 'good').length;
  expect(count).toBeLessThan(4);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect((await box.call('GET', `/api/upgrades/${id}`)).body.upgrade.totals).toEqual(paused.totals);
  expect((await post(box, `/${id}/resume`)).code).toBe('200 rolling');
  expect((await post(box, `/${id}/resume`)).status).toBe(200);
  await untilState(box, id, 'done');
  expect(await starts(box)).toEqual(all(box.ids, 2));

  // Not there: nothing was touched; when it is there, it goes on.
  const missing = await post(box, '', wish('later'));
  const failed = await untilState(box, missing.body.upgrade.id, 'failed');
  expect(failed.reason).toContain('releases/later');
  expect(await starts(box)).toEqual(all(box.ids, 2));
  await addRelease(box, 'later', 'good');
  await post(box, `/${missing.body.upgrade.id}/resume`);
  await untilState(box, missing.body.upgrade.id, 'done');
  expect(await images(box)).toEqual(all(box.ids, 'later'));

  // The way back from one that was done, as long as it is the last.
  expect((await post(box, `/${id}/rollback`)).code).toBe('409 not_the_latest');
  expect((await post(box, `/${missing.body.upgrade.id}/rollback`)).code).toBe('200 rolling_back');
  await untilState(box, missing.body.upgrade.id, 'rolled_back');
  expect(await images(box)).toEqual(all(box.ids, 'good'));
  expect((await box.call('GET', '/api/upgrades')).body.image).toBe('good');
});

test('the same again is the same; two at once are one and a conflict; what cannot be is refused', async () => {
  const box = await start(2);
  const code = async (body: unknown) => (await post(box, '', body)).code;
  expect(await code({})).toBe('400 invalid_request');
  expect(await code(wish('../etc'))).toBe('400 invalid_image');
  expect(await code(wish('built-in'))).toBe('409 nothing_to_upgrade');
  expect(await code(wish('good', { parallel: 0 }))).toBe('400 invalid_request');
  expect(await code(wish('good', { canary: { sessions: ['nobody'] } }))).toBe('404 unknown_session');
  await box.call('POST', `/api/sessions/${box.ids[0]}/stop`);
  await box.until(box.ids[0] ?? '', 'stopped');
  expect(await code(wish('good', { canary: { sessions: [box.ids[0]] } }))).toBe('409 no_canary');
  expect((await box.call('GET', '/api/upgrades/nothing')).body.code).toBe('unknown_upgrade');

  const answers = await Promise.all(
    ['good', 'ends-later', 'good', 'good'].map((image) =>
      post(box, '', wish(image, { canary: { sessions: 0 } })),
    ),
  );
  const ids = new Set(answers.filter(({ status }) => status === 202).map(({ body }) => body.upgrade.id));
  expect(ids.size).toBe(1);
  expect((await box.call('GET', '/api/upgrades')).body.upgrades).toHaveLength(1);
  expect(new Set(answers.map(({ code: each }) => each))).toEqual(
    new Set(['202 preparing', '409 upgrade_in_progress']),
  );
  const [id] = ids;
  const ended = await untilState(box, id ?? '', 'done', 'failed');
  if (ended.state === 'done') {
    // A stopped session follows when it is started.
    await box.call('POST', `/api/sessions/${box.ids[0]}/start`);
    expect(await box.until(box.ids[0] ?? '', 'connected')).toMatchObject({ image: ended.image });
  }
});
