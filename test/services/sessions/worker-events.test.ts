import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createSessionStore } from '../../../src/infra/database/session-store.ts';
import { type FleetSandbox, startFleetSandbox } from '../../helpers/fleet-sandbox.ts';

let box: FleetSandbox;
beforeAll(async () => {
  box = await startFleetSandbox({ run: false });
});
afterAll(() => box.stop());
beforeEach(async () => {
  await box.redis.flushall();
  box.receipts.length = 0;
  for (const table of ['sessions', 'events', 'auth_entries', 'auth_fences'] as const) {
    await box.database.db.deleteFrom(table).execute();
  }
});

const PHONE = '972501234567';
const EPOCH = 1_800_000_000_000;

/** A session whose worker was just started. */
async function started(phone: string | null = PHONE): Promise<string> {
  await box.upload('proxies', ['http://10.0.0.1:8080']);
  const made =
    phone === null
      ? await (async () => {
          await box.upload('profiles', ['p1']);
          const { body } = await box.call('POST', '/api/sessions', { phone: PHONE, profile: 'p1' });
          await box.database.db.updateTable('sessions').set({ phone: null }).execute();
          await box.inventory.allocation.release(body.session.id, { keepProfile: true });
          await box.inventory.allocation.allocate({
            sessionId: body.session.id,
            phone: null,
            profile: 'p1',
            pinnedProxy: null,
            direct: false,
          });
          return body;
        })()
      : (await box.call('POST', '/api/sessions', { phone })).body;
  const { id } = made.session;
  const store = createSessionStore(box.database);
  await store.update(id, { epoch: EPOCH }, {}, '2030-01-01T00:00:00.000Z');
  await box.fleet.sessions.transition(id, 'starting');
  return id;
}

const get = async (id: string) => (await box.call('GET', `/api/sessions/${id}`)).body.session;

describe('who may speak', () => {
  test('the owner, and whoever has the shared secret; nobody older, nobody else', async () => {
    const id = await started();
    expect(await box.event(id, EPOCH, 'PING', { status: 'ALIVE' })).toEqual({
      status: 200,
      body: { status: 'ok', owner: true, commands: [] },
    });
    expect((await box.event(id, 0, 'PING', { status: 'ALIVE' })).status).toBe(200);
    expect(await box.event(id, EPOCH - 1, 'PING', { status: 'ALIVE' })).toMatchObject({
      status: 409,
      body: { code: 'stale_epoch' },
    });
    const foreign = await box.call(
      'POST',
      `/api/worker/sessions/${id}/events`,
      {},
      { 'x-webhook-secret': 'no' },
    );
    expect(foreign.status).toBe(401);
    expect((await box.event('unknown', 0, 'PING', { status: 'ALIVE' })).status).toBe(404);
  });

  test.each<[string, object]>([
    ['an unknown type', { type: 'HELLO', data: {} }],
    ['no data', { type: 'PING' }],
    ['an unknown status', { type: 'STATUS_CHANGE', data: { status: 'HAPPY' } }],
    ['a QR without a code', { type: 'QR_UPDATE', data: {} }],
    ['a receipt of nothing', { type: 'RECEIPT', data: { status: 'read' } }],
    ['another session', { type: 'PING', data: { status: 'ALIVE' }, sessionId: 'other' }],
    ['a bad time', { type: 'PING', data: { status: 'ALIVE' }, timestamp: 'yesterday' }],
  ])('refuses %s', async (_, body) => {
    const id = await started();
    const answer = await box.worker(id, EPOCH, 'POST', '/events', { sessionId: id, ...body });
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request' } });
  });
});

describe('pairing', () => {
  test('a QR code in three forms until it runs out or the session is paired', async () => {
    const id = await started();
    const expiresAt = new Date(Date.now() + 30_000).toISOString();
    await box.event(id, EPOCH, 'QR_UPDATE', { qrCode: '2@abc', expiresAt });
    expect((await get(id)).state).toBe('pairing');
    const path = `/api/sessions/${id}/qr`;
    expect(await box.call('GET', path)).toEqual({
      status: 200,
      body: { status: 'ok', qr: '2@abc', expiresAt },
    });
    for (const [query, accept] of [
      ['?format=png', '*/*'],
      ['', 'image/png'],
    ]) {
      const png = await fetch(`${box.url}${path}${query}`, {
        headers: { 'x-api-key': 'test-api-key', accept: accept ?? '' },
      });
      expect(png.headers.get('content-type')).toBe('image/png');
      expect(
        Buffer.from(await png.arrayBuffer())
          .subarray(1, 4)
          .toString(),
      ).toBe('PNG');
    }
    const svg = await fetch(`${box.url}${path}?format=svg`, { headers: { 'x-api-key': 'test-api-key' } });
    expect(svg.headers.get('content-type')).toContain('image/svg+xml');
    expect(await svg.text()).toContain('<svg');
    expect((await box.call('GET', `${path}?format=gif`)).status).toBe(400);

    await box.event(id, EPOCH, 'QR_UPDATE', { qrCode: '2@old', expiresAt: '2020-01-01T00:00:00Z' });
    expect((await box.call('GET', path)).status).toBe(404);

    await box.event(id, EPOCH, 'CONNECTED', { phoneNumber: `+${PHONE}`, jid: `${PHONE}:1@s.whatsapp.net` });
    expect(await box.call('GET', path)).toMatchObject({ status: 404, body: { code: 'no_qr' } });
    expect(await get(id)).toMatchObject({ state: 'connected', jid: `${PHONE}:1@s.whatsapp.net` });
    // A code that was overtaken by the pairing changes nothing.
    await box.event(id, EPOCH, 'QR_UPDATE', { qrCode: '2@late' });
    expect((await get(id)).state).toBe('connected');
  });

  test('a pairing code is asked of the worker', async () => {
    const id = await started();
    await box.event(id, EPOCH, 'QR_UPDATE', { qrCode: '2@abc' });
    const asked = box.call('POST', `/api/sessions/${id}/pairing-code`, { phone: PHONE });
    let commands: { id: string; type: string; phone?: string }[] = [];
    while (commands.length === 0)
      commands = (await box.event(id, EPOCH, 'PING', { status: 'ALIVE' })).body.commands;
    expect(commands).toMatchObject([{ type: 'pairing_code', phone: PHONE }]);
    await box.worker(id, EPOCH, 'POST', `/commands/${commands[0]?.id}/result`, {
      ok: true,
      code: 'abcd1234',
    });
    expect(await asked).toEqual({ status: 200, body: { status: 'ok', code: 'ABCD-1234' } });
    expect(
      await box.call('POST', `/api/sessions/${id}/pairing-code`, { phone: '972509999999' }),
    ).toMatchObject({ status: 409, body: { code: 'phone_mismatch' } });

    const refused = box.call('POST', `/api/sessions/${id}/pairing-code`, { phone: PHONE });
    commands = [];
    while (commands.length === 0)
      commands = (await box.event(id, EPOCH, 'PING', { status: 'ALIVE' })).body.commands;
    await box.worker(id, EPOCH, 'POST', `/commands/${commands[0]?.id}/result`, {
      ok: false,
      reason: 'too many',
    });
    expect(await refused).toMatchObject({ status: 409, body: { code: 'pairing_code_refused' } });
  });

  test('a session without a phone learns it, up to the cap of the phone', async () => {
    const id = await started(null);
    await box.event(id, EPOCH, 'CONNECTED', { phoneNumber: PHONE });
    expect(await get(id)).toMatchObject({ state: 'connected', phone: PHONE });
    expect((await box.inventory.allocation.binding(id))?.phone).toBe(PHONE);
  });

  test('over the cap it fails and is to be unlinked', async () => {
    const id = await started(null);
    await box.upload('proxies', ['http://10.0.0.2:8080']);
    for (let n = 0; n < 4; n++)
      expect((await box.call('POST', '/api/sessions', { phone: PHONE })).status).toBe(201);
    await box.event(id, EPOCH, 'CONNECTED', { phoneNumber: PHONE });
    expect(await get(id)).toMatchObject({
      state: 'failed',
      reason: expect.stringMatching(/^phone_cap_reached/),
    });
    const row = await createSessionStore(box.database).find(id);
    expect(row).toMatchObject({ logout: true, phone: null });
  });

  test('another phone than the stated one fails, without showing the number', async () => {
    const id = await started();
    await box.event(id, EPOCH, 'CONNECTED', { phoneNumber: '972509998877' });
    const session = await get(id);
    expect(session).toMatchObject({
      state: 'failed',
      reason: 'phone_mismatch: paired with …8877',
      phone: PHONE,
    });
  });
});

describe('states', () => {
  test('reconnecting and back; shutting down; every change is an event', async () => {
    const id = await started();
    await box.event(id, EPOCH, 'CONNECTED', { phoneNumber: PHONE });
    await box.event(id, EPOCH, 'STATUS_CHANGE', { status: 'RECONNECTING', reason: 'connection lost (428)' });
    expect(await get(id)).toMatchObject({ state: 'reconnecting', reason: 'connection lost (428)' });
    await box.event(id, EPOCH, 'STATUS_CHANGE', { status: 'RECONNECTING' });
    await box.event(id, EPOCH, 'CONNECTED', { phoneNumber: PHONE });
    await box.event(id, EPOCH, 'STATUS_CHANGE', { status: 'SHUTTING_DOWN' });
    const changes = (await box.events('session.state')).map(({ data }) => JSON.parse(data));
    expect(changes.map(({ from, to }) => `${from} ${to}`)).toEqual([
      'pending starting',
      'starting connected',
      'connected reconnecting',
      'reconnecting connected',
      'connected reconnecting',
    ]);
  });

  test('logged out: credentials are gone, and the worker writes no more', async () => {
    const id = await started();
    await box.event(id, EPOCH, 'CONNECTED', { phoneNumber: PHONE });
    await box.worker(id, EPOCH, 'GET', '/auth');
    await box.worker(id, EPOCH, 'PUT', '/auth', { sequence: 1, set: { creds: { me: 1 }, keys: {} } });
    await box.event(id, EPOCH, 'STATUS_CHANGE', { status: 'LOGGED_OUT', reason: 'unlinked (401)' });
    expect(await get(id)).toMatchObject({ state: 'logged_out', reason: 'unlinked (401)', jid: null });
    expect(await box.database.db.selectFrom('auth_entries').selectAll().execute()).toEqual([]);
    const late = await box.worker(id, EPOCH, 'PUT', '/auth', { sequence: 2, set: { creds: { me: 2 } } });
    expect(late).toMatchObject({ status: 409, body: { code: 'stale_epoch' } });
    // Nothing that comes late brings it back.
    await box.event(id, EPOCH, 'CONNECTED', { phoneNumber: PHONE });
    expect((await get(id)).state).toBe('logged_out');
    await box.call('POST', `/api/sessions/${id}/start`);
    expect((await get(id)).state).toBe('pending');
    // As its start would: nobody gets credentials before the epoch has begun.
    await box.database.db
      .updateTable('sessions')
      .set({ epoch: EPOCH + 10 })
      .where('id', '=', id)
      .execute();
    const { body } = await box.worker(id, EPOCH + 10, 'GET', '/auth');
    expect(body).toEqual({ status: 'ok', sequence: 0, entries: { keys: {} } });
  });
});

test('receipts go to the ledger with their time', async () => {
  const id = await started();
  await box.event(id, EPOCH, 'RECEIPT', { taskId: 't1', status: 'delivered', at: '2030-01-01T00:00:00Z' });
  await box.event(id, EPOCH, 'RECEIPT', { whatsappId: '3EB0AA', status: 'read', at: 1_900_000_000_000 });
  expect(box.receipts).toEqual([
    { sessionId: id, taskId: 't1', whatsappId: null, status: 'delivered', at: Date.parse('2030-01-01') },
    { sessionId: id, taskId: null, whatsappId: '3EB0AA', status: 'read', at: 1_900_000_000_000 },
  ]);
});

test('an inbound message is recorded once', async () => {
  const id = await started();
  for (const mid of ['A', 'A', 'B', 'A']) {
    const answer = await box.event(id, EPOCH, 'MESSAGE', { id: mid, from: '972501112233', text: 'שלום' });
    expect(answer.status).toBe(200);
  }
  const messages = (await box.events('message.received')).map(({ data }) => JSON.parse(data));
  expect(messages.map((message) => message.id)).toEqual(['A', 'B']);
  expect(messages[0]).toEqual({ id: 'A', from: '972501112233', text: 'שלום' });
});
