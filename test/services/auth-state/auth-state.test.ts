import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createAesGcmSealer } from '../../../src/infra/crypto/aes-gcm-sealer.ts';
import { createAuthStore } from '../../../src/infra/database/auth-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { AuthState } from '../../../src/services/auth-state/auth-state.ts';
import { type FleetSandbox, startFleetSandbox, TEST_KEY } from '../../helpers/fleet-sandbox.ts';

let box: FleetSandbox;
let id = '';
beforeAll(async () => {
  box = await startFleetSandbox({ run: false });
  await box.upload('proxies', ['http://10.0.0.1:8080']);
  id = (await box.call('POST', '/api/sessions', { phone: '972501234567' })).body.session.id;
});
afterAll(() => box.stop());
beforeEach(async () => {
  await box.database.db.deleteFrom('auth_entries').execute();
  await box.database.db.deleteFrom('auth_fences').execute();
});

const put = (epoch: number, sequence: number, set: object) =>
  box.worker(id, epoch, 'PUT', '/auth', { sequence, set });
const get = async (epoch: number) => (await box.worker(id, epoch, 'GET', '/auth')).body;

test('what was put comes back as it was; null deletes; any JSON will do', async () => {
  expect(await get(5)).toEqual({ status: 'ok', sequence: 0, entries: { keys: {} } });
  const creds = {
    noiseKey: { private: { type: 'Buffer', data: 'AAE=' } },
    registered: false,
    name: 'שלום "x"',
  };
  const keys = {
    'pre-key': { '1': { public: 'x' }, '2': 'text', __proto__: undefined },
    session: { 'a.0': [1, 2, { b: null }], 'c"d': 7 },
  };
  expect(await put(5, 1, { creds, keys })).toEqual({
    status: 200,
    body: { status: 'ok', sequence: 1, applied: true },
  });
  expect(await get(5)).toEqual({ status: 'ok', sequence: 1, entries: { creds, keys } });
  await put(5, 2, { keys: { 'pre-key': { '1': null, '3': 0 }, gone: { x: null } } });
  expect((await get(5)).entries).toEqual({
    creds,
    keys: { 'pre-key': { '2': 'text', '3': 0 }, session: keys.session },
  });
});

test('writes go in order: a repeat is fine and changes nothing, a gap is refused', async () => {
  await put(5, 1, { creds: { n: 1 } });
  expect((await put(5, 1, { creds: { n: 99 } })).body).toMatchObject({ applied: false });
  expect(await put(5, 3, { creds: { n: 3 } })).toMatchObject({
    status: 409,
    body: { code: 'auth_out_of_order', sequence: 1 },
  });
  expect((await get(5)).entries.creds).toEqual({ n: 1 });
  expect((await put(5, 2, { creds: { n: 2 } })).status).toBe(200);
});

test('a newer worker fences the older one by reading alone', async () => {
  await put(5, 1, { creds: { n: 1 } });
  expect((await get(6)).sequence).toBe(1);
  for (const answer of [await put(5, 2, { creds: { n: 2 } }), await box.worker(id, 5, 'GET', '/auth')]) {
    expect(answer).toMatchObject({ status: 409, body: { code: 'stale_epoch' } });
  }
  expect((await put(6, 2, { creds: { n: 3 } })).status).toBe(200);
  expect((await get(0)).entries.creds).toEqual({ n: 3 });
});

test('of two writers at once with the same number one wins, whole', async () => {
  const values = (n: number) => Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`k${i}`, n]));
  const answers = await Promise.all([1, 2, 3].map((n) => put(5, 1, { keys: { t: values(n) } })));
  expect(answers.filter(({ body }) => body.applied)).toHaveLength(1);
  expect(new Set(Object.values((await get(5)).entries.keys.t ?? {})).size).toBe(1);
});

test('a write that fails half-way leaves nothing', async () => {
  await put(5, 1, { creds: { n: 1 } });
  const store = createAuthStore(box.database);
  const writes = [
    { type: 'creds', keyId: 'creds', value: 'changed' },
    { type: 't', keyId: 'k', value: undefined as unknown as string },
  ];
  await expect(store.apply(id, 5, 2, writes, '2030-01-01T00:00:00Z')).rejects.toThrow();
  expect(await get(5)).toMatchObject({ sequence: 1, entries: { creds: { n: 1 }, keys: {} } });
});

test('812 pre-keys, as after a first login, are one write', async () => {
  const key = () => ({
    public: randomBytes(32).toString('base64'),
    private: randomBytes(32).toString('base64'),
  });
  const preKeys = Object.fromEntries(Array.from({ length: 812 }, (_, n) => [String(n), key()]));
  expect((await put(5, 1, { keys: { 'pre-key': preKeys } })).status).toBe(200);
  expect((await get(5)).entries.keys['pre-key']).toEqual(preKeys);
});

test('nothing readable is stored, and no value can stand in for another', async () => {
  await put(5, 1, { creds: { secret: 'very-secret-text' }, keys: { t: { a: 'first', b: 'second' } } });
  const rows = await box.database.db.selectFrom('auth_entries').selectAll().execute();
  for (const { value } of rows) {
    expect(value).not.toContain('secret');
    expect(Buffer.from(value, 'base64').toString()).not.toContain('secret');
  }
  const a = rows.find(({ key_id }) => key_id === 'a')?.value ?? '';
  await box.database.db.updateTable('auth_entries').set({ value: a }).where('key_id', '=', 'b').execute();
  await expect(box.fleet.auth.load(id, 5)).rejects.toThrow('another key or for another entry');
});

test('another key at the start is said in words', async () => {
  const other = new AuthState({
    store: createAuthStore(box.database),
    sealer: createAesGcmSealer('22'.repeat(32)),
    clock: systemClock,
  });
  await other.verifyKey();
  await put(5, 1, { creds: { n: 1 } });
  await box.fleet.auth.verifyKey();
  await expect(other.verifyKey()).rejects.toThrow('AUTH_ENCRYPTION_KEY is not the key');
});

test('keys: hex or base64, 32 bytes', () => {
  const base64 = Buffer.from(TEST_KEY, 'hex').toString('base64');
  const sealed = createAesGcmSealer(TEST_KEY).seal('x', 'c');
  expect(createAesGcmSealer(base64).open(sealed, 'c')).toBe('x');
  expect(createAesGcmSealer(TEST_KEY).seal('x', 'c')).not.toBe(sealed);
  expect(() => createAesGcmSealer('short')).toThrow('32 bytes');
});

test.each<[string, object]>([
  ['no sequence', { set: {} }],
  ['a sequence of 0', { sequence: 0, set: {} }],
  ['no set', { sequence: 1 }],
  ['keys that are no object', { sequence: 1, set: { keys: { t: [] } } }],
])('refuses %s', async (_, body) => {
  expect((await box.worker(id, 5, 'PUT', '/auth', body)).status).toBe(400);
});

test('a session that is not there has no auth state, and leaves no trace', async () => {
  expect((await box.worker('nobody', 0, 'GET', '/auth')).status).toBe(404);
  expect((await box.worker('nobody', 0, 'PUT', '/auth', { sequence: 1, set: {} })).status).toBe(404);
  expect(await box.database.db.selectFrom('auth_fences').selectAll().execute()).toEqual([]);
});
