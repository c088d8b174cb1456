import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FleetSandbox, startFleetSandbox } from '../../helpers/fleet-sandbox.ts';

// Without a running fleet: what the API alone does.
let box: FleetSandbox;
beforeAll(async () => {
  box = await startFleetSandbox({ run: false, policy: { maxSessions: 8 } });
});
afterAll(() => box.stop());
beforeEach(async () => {
  await box.redis.flushall();
  for (const table of ['sessions', 'events', 'auth_entries', 'auth_fences'] as const) {
    await box.database.db.deleteFrom(table).execute();
  }
});

const PHONE = '972501234567';
const PROXY = 'http://user:pass@10.0.0.1:8080';
const create = (body: Record<string, unknown> = {}) =>
  box.call('POST', '/api/sessions', { phone: PHONE, ...body });

describe('making a session', () => {
  test('answers with the session, its proxy without credentials', async () => {
    await box.upload('proxies', [PROXY]);
    const { status, body } = await create({
      tenant: 'acme',
      webhookUrl: 'https://example.com/hook',
      resources: { cpu: '0.5', memory: '512m' },
    });
    expect(status).toBe(201);
    expect(body.status).toBe('ok');
    expect(body.session).toMatchObject({
      phone: PHONE,
      state: 'pending',
      desired: 'running',
      proxy: '10.0.0.1:8080',
      tenant: 'acme',
      profile: null,
      webhookUrl: 'https://example.com/hook',
      resources: { cpu: '0.5', memory: '512m' },
    });
    expect(Date.parse(body.session.createdAt)).toBeGreaterThan(0);
    expect(JSON.stringify(body)).not.toContain('pass');
    expect(await box.call('GET', `/api/sessions/${body.session.id}`)).toEqual({ status: 200, body });
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['no phone', { phone: undefined }, 'phone'],
    ['letters in the phone', { phone: '97250abc4567' }, 'phone'],
    ['a short phone', { phone: '1234567' }, 'phone'],
    ['a long phone', { phone: '1'.repeat(16) }, 'phone'],
    ['too little cpu', { resources: { cpu: '0.05' } }, 'resources.cpu'],
    ['too much cpu', { resources: { cpu: '65' } }, 'resources.cpu'],
    ['words for cpu', { resources: { cpu: 'lots' } }, 'resources.cpu'],
    ['too little memory', { resources: { memory: '63m' } }, 'resources.memory'],
    ['too much memory', { resources: { memory: '65g' } }, 'resources.memory'],
    ['no unit of memory', { resources: { memory: '512' } }, 'resources.memory'],
    ['another scheme', { webhookUrl: 'ftp://example.com' }, 'webhookUrl'],
    ['no address', { webhookUrl: 'hello' }, 'webhookUrl'],
    ['an empty tenant', { tenant: ' ' }, 'tenant'],
    ['a proxy of its own', { proxy: PROXY }, 'proxy'],
  ])('refuses %s and names the field', async (_, over, field) => {
    const { status, body } = await create(over);
    expect({ status, code: body.code, field: body.field }).toEqual({
      status: 400,
      code: 'invalid_request',
      field,
    });
    expect(body.reason).toContain(field);
  });

  test.each([{ resources: { cpu: '0.1', memory: '64m' } }, { resources: { cpu: '64', memory: '64g' } }])(
    'takes the limits %j',
    async (over) => {
      await box.upload('proxies', [PROXY]);
      expect((await create(over)).status).toBe(201);
    },
  );

  test('a refusal leaves nothing behind', async () => {
    expect(await create()).toMatchObject({ status: 409, body: { code: 'no_proxy_available' } });
    expect((await box.call('GET', '/api/sessions')).body.sessions).toEqual([]);
    expect(await box.inventory.allocation.bindings()).toEqual([]);
    expect((await box.events('alert.raised')).length).toBe(1);
    await create();
    expect((await box.events('alert.raised')).length).toBe(1);
  });

  test('the cap of a phone', async () => {
    await box.upload('proxies', [PROXY, 'http://10.0.0.2:8080']);
    const all = await Promise.all(Array.from({ length: 6 }, () => create()));
    expect(all.filter(({ status }) => status === 201)).toHaveLength(4);
    expect(all.filter(({ body }) => body.code === 'phone_cap_reached')).toHaveLength(2);
    expect((await box.call('GET', '/api/sessions')).body.sessions).toHaveLength(4);
  });

  test('MAX_SESSIONS', async () => {
    await box.upload('proxies', [PROXY, 'http://10.0.0.2:8080', 'http://10.0.0.3:8080']);
    const all = await Promise.all(
      Array.from({ length: 11 }, (_, n) => create({ phone: `9725000000${10 + n}` })),
    );
    expect(all.filter(({ status }) => status === 201)).toHaveLength(8);
    expect(all.filter(({ body }) => body.code === 'max_sessions_reached')).toHaveLength(3);
    expect(await create({ phone: '972509999999' })).toMatchObject({
      status: 409,
      body: { code: 'max_sessions_reached' },
    });
  });

  test('without a proxy only if that is allowed', async () => {
    expect(await create({ proxy: false })).toMatchObject({
      status: 403,
      body: { code: 'direct_not_allowed' },
    });
  });

  test('a named profile: by id or line, once; an unknown one is refused', async () => {
    await box.upload('proxies', [PROXY]);
    const line = JSON.stringify({ id: 'anna', phone: PHONE });
    await box.upload('profiles', [line, 'plain']);
    expect((await create({ profile: 'anna' })).body.session.profile).toBe('anna');
    expect(await create({ profile: line })).toMatchObject({
      status: 409,
      body: { code: 'no_profile_available' },
    });
    expect((await create({ profile: 'plain' })).body.session.profile).toBe('plain');
    expect(await create({ profile: 'nobody' })).toMatchObject({
      status: 409,
      body: { code: 'no_profile_available' },
    });
  });

  test('an unnamed profile: of the same phone, else without a phone, else none', async () => {
    await box.upload('proxies', [PROXY]);
    await box.upload('profiles', [
      JSON.stringify({ id: 'other', phone: '972509999999' }),
      JSON.stringify({ id: 'foreign', tenant: 'elsewhere' }),
      'open',
      JSON.stringify({ id: 'mine', phone: PHONE }),
    ]);
    const taken = [];
    for (let n = 0; n < 3; n++) taken.push((await create()).body.session.profile);
    expect(taken).toEqual(['mine', 'open', null]);
  });

  test('the same profile at once goes to one', async () => {
    await box.upload('proxies', [PROXY]);
    await box.upload('profiles', ['only']);
    const all = await Promise.all([create(), create(), create()]);
    expect(all.map(({ status }) => status)).toEqual([201, 201, 201]);
    expect(all.map(({ body }) => body.session.profile).sort()).toEqual([null, null, 'only'].sort());
  });
});

describe('lists', () => {
  test('pages hold together while sessions come and go', async () => {
    await box.upload('proxies', [PROXY, 'http://10.0.0.2:8080']);
    const ids: string[] = [];
    for (let n = 0; n < 6; n++) {
      ids.push((await create({ phone: `97250000000${n}`, tenant: n % 2 ? 'odd' : 'even' })).body.session.id);
    }
    const first = (await box.call('GET', '/api/sessions?limit=2')).body;
    expect(first.sessions.map(({ id }: { id: string }) => id)).toEqual(ids.slice(0, 2));
    await box.call('DELETE', `/api/sessions/${ids[0]}`);
    const second = (await box.call('GET', `/api/sessions?limit=3&cursor=${first.nextCursor}`)).body;
    expect(second.sessions.map(({ id }: { id: string }) => id)).toEqual(ids.slice(2, 5));
    const last = (await box.call('GET', `/api/sessions?limit=3&cursor=${second.nextCursor}`)).body;
    expect(last).toMatchObject({ nextCursor: null, sessions: [{ id: ids[5] }] });
    const odd = (await box.call('GET', '/api/sessions?tenant=odd')).body;
    expect(odd.sessions).toHaveLength(3);
    expect((await box.call('GET', '/api/sessions?state=connected')).body.sessions).toEqual([]);
    expect((await box.call('GET', '/api/sessions?state=pending')).body.sessions).toHaveLength(5);
  });

  test.each(['limit=0', 'limit=abc', 'limit=1001', 'state=happy', 'cursor=nonsense'])(
    'refuses %s',
    async (query) => {
      expect((await box.call('GET', `/api/sessions?${query}`)).status).toBe(400);
    },
  );
});

describe('what does not fit', () => {
  test.each([
    ['GET', ''],
    ['DELETE', ''],
    ['POST', '/start'],
    ['POST', '/stop'],
    ['POST', '/restart'],
    ['POST', '/logout'],
    ['GET', '/logs'],
    ['GET', '/qr'],
  ])('%s …%s of an unknown session is 404', async (method, path) => {
    const { status, body } = await box.call(method, `/api/sessions/unknown${path}`);
    expect({ status, code: body.code }).toEqual({ status: 404, code: 'unknown_session' });
  });

  test('no key, no answer', async () => {
    expect((await box.call('GET', '/api/sessions', undefined, {})).status).toBe(401);
  });

  test('a pairing code needs pairing, a logout a connection, a QR a code', async () => {
    await box.upload('proxies', [PROXY]);
    const { id } = (await create()).body.session;
    const code = await box.call('POST', `/api/sessions/${id}/pairing-code`, { phone: PHONE });
    expect(code).toMatchObject({ status: 409, body: { code: 'not_pairing' } });
    expect(await box.call('POST', `/api/sessions/${id}/logout`)).toMatchObject({
      status: 409,
      body: { code: 'not_connected' },
    });
    expect(await box.call('GET', `/api/sessions/${id}/qr`)).toMatchObject({
      status: 404,
      body: { code: 'no_qr' },
    });
  });

  test('a start without a free proxy says so', async () => {
    await box.upload('proxies', [PROXY]);
    const { id } = (await create()).body.session;
    await box.call('POST', `/api/sessions/${id}/stop`);
    await box.fleet.sessions.transition(id, 'stopped');
    await box.inventory.allocation.release(id, { keepProfile: true });
    for (let n = 0; n < 4; n++) await create({ phone: `97250000000${n}` });
    expect(await box.call('POST', `/api/sessions/${id}/start`)).toMatchObject({
      status: 409,
      body: { code: 'no_proxy_available' },
    });
    expect((await box.call('GET', `/api/sessions/${id}`)).body.session.state).toBe('stopped');
  });
});

test('descriptions for what waits', async () => {
  await box.upload('proxies', [PROXY]);
  const { id } = (await create()).body.session;
  const { sessions } = box.fleet;
  expect(await sessions.describe(id)).toBe('is waiting to be started');
  await sessions.transition(id, 'starting');
  await sessions.transition(id, 'pairing');
  expect(await sessions.describe(id)).toBe('is pairing: scan the QR');
  await sessions.transition(id, 'connected');
  expect(await sessions.describe(id)).toBeNull();
  expect(await sessions.connected({})).toEqual([{ id, phone: PHONE, tenant: null }]);
  expect(await sessions.connected({ ids: ['other'] })).toEqual([]);
  expect(await sessions.connected({ tenant: 'acme' })).toEqual([]);
  expect(await sessions.transition(id, 'pairing')).toBe(false);
  expect(await sessions.counts()).toEqual({ total: 1, connected: 1 });
});
