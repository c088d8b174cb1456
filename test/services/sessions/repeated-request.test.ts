import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually, type FleetSandbox, startFleetSandbox } from '../../helpers/fleet-sandbox.ts';
import { asManager } from '../../helpers/http.ts';

const PROXY = 'http://127.0.0.1:8080';
let box: FleetSandbox;
beforeEach(async () => {
  box = await startFleetSandbox();
  await box.upload('proxies', [PROXY]);
});
afterEach(() => box.stop());

const create = (body: Record<string, unknown>, key: string) =>
  box.call('POST', '/api/sessions', body, { ...asManager, 'idempotency-key': key });
const count = async (): Promise<number> => (await box.call('GET', '/api/sessions')).body.sessions.length;

test('the same request again answers with the same session, however it is written down', async () => {
  const first = await create(
    { phone: '972530000001', tenant: 'acme', resources: { cpu: '1', memory: '1g' } },
    'k/1',
  );
  expect(first.status).toBe(201);
  const again = await create(
    { tenant: 'acme', resources: { memory: '1g', cpu: '1' }, phone: '972530000001' },
    'k/1',
  );
  expect(again.status).toBe(201);
  expect(again.body.session.id).toBe(first.body.session.id);
  expect(again.body.session.proxy).toBe(first.body.session.proxy);
  expect(await count()).toBe(1);

  // Without the key, or with another one, it is another request.
  expect((await box.call('POST', '/api/sessions', { phone: '972530000001' })).status).toBe(201);
  expect((await create({ phone: '972530000001', tenant: 'acme' }, 'k/2')).status).toBe(201);
  expect(await count()).toBe(3);
});

test('the same key with another body is refused, and so is a key that is none', async () => {
  const { body } = await create({ phone: '972530000001' }, 'key');
  for (const other of [{ phone: '972530000002' }, { phone: '972530000001', tenant: 'x' }]) {
    const answer = await create(other, 'key');
    expect(answer).toMatchObject({ status: 409, body: { code: 'idempotency_key_reused' } });
    expect(answer.body.reason).toContain(body.session.id);
  }
  const spread = (group: string) => ({ phone: '972530000003', resources: { spread: { group } } });
  expect((await create(spread('a'), 'spread')).status).toBe(201);
  expect((await create(spread('a'), 'spread')).status).toBe(201);
  expect((await create(spread('b'), 'spread')).status).toBe(409);
  const bad = await create({ phone: '972530000001' }, 'has space');
  expect(bad).toMatchObject({ status: 400, body: { code: 'invalid_request' } });
  expect(await count()).toBe(2);
});

test('many of the same at the same moment make one session', async () => {
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => create({ phone: '972530000001' }, 'at-once')),
  );
  expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(201));
  expect(new Set(answers.map(({ body }) => body.session.id)).size).toBe(1);
  expect(await count()).toBe(1);
});

test('a refusal leaves the key free, and so does a session that is gone', async () => {
  for (const n of [1, 2, 3, 4]) await create({ phone: `97253000001${n}` }, `fill-${n}`);
  const wish = { phone: '972530000001' };
  expect(await create(wish, 'late')).toMatchObject({ status: 409, body: { code: 'no_proxy_available' } });
  await box.upload('proxies', ['http://127.0.0.1:8081']);
  const made = await create(wish, 'late');
  expect(made.status).toBe(201);
  expect((await create(wish, 'late')).body.session.id).toBe(made.body.session.id);

  await box.call('DELETE', `/api/sessions/${made.body.session.id}`);
  // While its end is under way the key is taken; nobody is given a session that is about to go.
  await eventually(async () => (await create(wish, 'late')).status === 201, 20_000);
  const sessions = (await box.call('GET', '/api/sessions')).body.sessions as { id: string; phone: string }[];
  const anew = sessions.filter(({ phone }) => phone === wish.phone);
  expect(anew).toHaveLength(1);
  expect(anew[0]?.id).not.toBe(made.body.session.id);
});
