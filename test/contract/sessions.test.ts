import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { patient } from '../patience.ts';
import { errorFaults, eventually, type Flotilla, fileForm, startFlotilla } from './flotilla.ts';

let flotilla: Flotilla;
beforeAll(async () => {
  flotilla = await startFlotilla({ MONITOR_INTERVAL_MS: '3600000', WHATSAPP_WS_URL: 'ws://127.0.0.1:9/' });
  await flotilla.api('POST', '/upload/proxies', fileForm('http://user:hush-hush@127.0.0.1:9\n'));
  await flotilla.api(
    'POST',
    '/upload/profiles',
    fileForm('plain-profile\n{"id":"json-profile","tenant":"x"}\n'),
  );
});
afterAll(() => flotilla?.stop());

const create = (body: unknown) => flotilla.api('POST', '/api/sessions', body);
const view = async (id: string) => (await flotilla.api('GET', `/api/sessions/${id}`)).body.session;
const act = (id: string, verb: string, body?: unknown) =>
  flotilla.api('POST', `/api/sessions/${id}/${verb}`, body);
const remove = async (id: string): Promise<void> => {
  expect((await flotilla.api('DELETE', `/api/sessions/${id}`)).status).toBe(200);
  // Its places are given back when its worker is known to be gone.
  await eventually(
    'its end',
    async () =>
      (await flotilla.api('GET', `/api/sessions/${id}`)).status === 404 &&
      !(await flotilla.redis.hexists('session:bindings', id)),
    15_000,
  );
};

describe('POST /api/sessions', () => {
  it('answers 201 with the session', async () => {
    const resources = {
      cpu: '0.5',
      memory: '512m',
      constraints: ['node.labels.region==eu'],
      spread: { group: 'orders', over: 'node.labels.zone' },
    };
    const answer = await create({
      phone: '972530000001',
      tenant: 'acme',
      resources,
    });
    expect(answer.status).toBe(201);
    expect(answer.body).toMatchObject({
      status: 'ok',
      session: { id: expect.any(String), phone: '972530000001', proxy: '127.0.0.1:9', tenant: 'acme' },
    });
    const { session } = answer.body;
    expect(Number.isNaN(Date.parse(session.createdAt))).toBe(false);
    expect(['pending', 'starting']).toContain(session.state);
    expect(answer.text).not.toContain('hush');
    expect(await view(session.id)).toMatchObject({ id: session.id, phone: '972530000001', resources });
    await remove(session.id);
  });

  it.each<[string, unknown, string]>([
    ['no phone', {}, 'phone'],
    ['letters in the phone', { phone: '97253abc' }, 'phone'],
    ['a short phone', { phone: '123' }, 'phone'],
    ['a phone that is a number', { phone: 972530000001 }, 'phone'],
    ['a webhook that is no URL', { phone: '972530000001', webhookUrl: 'nowhere' }, 'webhookUrl'],
    [
      'a webhook of another scheme',
      { phone: '972530000001', webhookUrl: 'file:///etc/passwd' },
      'webhookUrl',
    ],
    [
      'a spread without a group',
      { phone: '972530000001', resources: { spread: { over: 'node.labels.zone' } } },
      'resources.spread.group',
    ],
    [
      'a group that is a sentence',
      { phone: '972530000001', resources: { spread: { group: 'all of them' } } },
      'resources.spread.group',
    ],
    [
      'a spread over nothing that a node has',
      { phone: '972530000001', resources: { spread: { group: 'a', over: 'zone' } } },
      'resources.spread.over',
    ],
    ['odd resources', { phone: '972530000001', resources: { memory: 'lots' } }, 'memory'],
    ['a tenant that is a list', { phone: '972530000001', tenant: [] }, 'tenant'],
  ])('refuses %s with 400', async (_name, body, field) => {
    const answer = await create(body);
    expect(errorFaults(answer, 400)).toEqual([]);
    expect(answer.body.reason).toContain(field);
  });

  it('refuses a session without a proxy, and a profile that is not there', async () => {
    const direct = await create({ phone: '972530000002', proxy: false });
    expect([400, 403, 409]).toContain(direct.status);
    expect(errorFaults(direct, direct.status)).toEqual([]);
    expect(direct.body.reason).toMatch(/ALLOW_DIRECT/);
    const profile = await create({ phone: '972530000002', profile: 'not-uploaded' });
    expect(errorFaults(profile, 409)).toEqual([]);
    expect(profile.body.code).toBe('no_profile_available');
    expect(await flotilla.redis.hgetall('phone:active_count')).toEqual({});
  });

  it('takes a named profile out of the pool, and gives it back', async () => {
    const { body } = await create({ phone: '972530000003', profile: 'plain-profile' });
    const where = async () => [
      await flotilla.redis.sismember('profiles:available', 'plain-profile'),
      await flotilla.redis.sismember('profiles:used', 'plain-profile'),
    ];
    expect(await where()).toEqual([0, 1]);
    const again = await create({ phone: '972530000004', profile: 'plain-profile' });
    expect(errorFaults(again, 409)).toEqual([]);
    await remove(body.session.id);
    expect(await where()).toEqual([1, 0]);
  });
});

describe('unknown sessions', () => {
  it('are 404 everywhere', async () => {
    for (const [method, path] of [
      ['GET', '/api/sessions/none'],
      ['DELETE', '/api/sessions/none'],
      ['POST', '/api/sessions/none/start'],
      ['POST', '/api/sessions/none/stop'],
      ['POST', '/api/sessions/none/restart'],
      ['POST', '/api/sessions/none/logout'],
      ['GET', '/api/sessions/none/logs'],
      ['GET', '/api/sessions/none/qr'],
      ['POST', '/session/restart/none'],
    ] as const) {
      expect([path, errorFaults(await flotilla.api(method, path), 404)]).toEqual([path, []]);
    }
    const code = await act('none', 'pairing-code', { phone: '972530000001' });
    expect(errorFaults(code, 404)).toEqual([]);
  });
});

describe('a session with its worker', () => {
  const PHONE = '972540000001';
  let id: string;
  const event = (type: string, data: unknown) =>
    flotilla.worker('POST', `/api/worker/sessions/${id}/events`, {
      sessionId: id,
      type,
      timestamp: new Date().toISOString(),
      data,
    });
  const qr = (query = '', headers = {}) =>
    flotilla.api('GET', `/api/sessions/${id}/qr${query}`, undefined, headers);

  beforeAll(async () => {
    id = (await create({ phone: PHONE, tenant: 'acme' })).body.session.id;
    await flotilla.freezeWorker(id);
  });

  it('shows its QR code as text, PNG and SVG', async () => {
    expect(errorFaults(await qr(), 404)).toEqual([]);
    expect((await event('QR_UPDATE', { qrCode: '2@abc,def,ghi' })).status).toBe(200);
    const raw = await qr();
    expect(raw.body).toMatchObject({ status: 'ok', qr: '2@abc,def,ghi' });
    expect(Date.parse(raw.body.expiresAt)).toBeGreaterThan(Date.now());
    expect((await view(id)).state).toBe('pairing');
    for (const png of [await qr('?format=png'), await qr('', { accept: 'image/png' })]) {
      expect(png.headers.get('content-type')).toMatch(/^image\/png/);
      expect(png.text.slice(1, 4)).toBe('PNG');
    }
    const svg = await qr('?format=svg');
    expect(svg.headers.get('content-type')).toMatch(/^image\/svg\+xml/);
    expect(errorFaults(await qr('?format=bmp'), 400)).toEqual([]);
  });

  it('is connected, and has no QR code any more', async () => {
    await event('CONNECTED', { phoneNumber: PHONE, jid: `${PHONE}@s.whatsapp.net` });
    expect((await view(id)).state).toBe('connected');
    const gone = await qr();
    expect(errorFaults(gone, 404)).toEqual([]);
    expect(gone.body.code).toBe('no_qr');
    expect((await event('PING', { status: 'ALIVE' })).body.status).toBe('ok');
    await event('STATUS_CHANGE', { status: 'RECONNECTING' });
    expect((await view(id)).state).toBe('reconnecting');
    await event('CONNECTED', { phoneNumber: PHONE, jid: `${PHONE}@s.whatsapp.net` });
    expect((await view(id)).state).toBe('connected');
  });

  it('takes no nonsense from its worker', async () => {
    const path = `/api/worker/sessions/${id}/events`;
    const base = { sessionId: id, timestamp: new Date().toISOString() };
    for (const body of [
      {},
      { ...base, type: 'DANCE', data: {} },
      { ...base, type: 'STATUS_CHANGE', data: { status: 'HAPPY' } },
      { ...base, type: 'QR_UPDATE', data: {} },
      { ...base, type: 'CONNECTED', data: { phoneNumber: 5 } },
      { ...base, sessionId: 'another', type: 'PING', data: { status: 'ALIVE' } },
    ]) {
      expect([body, errorFaults(await flotilla.worker('POST', path, body), 400)]).toEqual([body, []]);
    }
    const unknown = await flotilla.worker('POST', '/api/worker/sessions/none/events', {
      ...base,
      sessionId: 'none',
      type: 'PING',
      data: { status: 'ALIVE' },
    });
    expect(errorFaults(unknown, 404)).toEqual([]);
    expect((await view(id)).state).toBe('connected');
  });

  it('is listed by state, by tenant and by page', async () => {
    const list = async (query: string) => (await flotilla.api('GET', `/api/sessions?${query}`)).body;
    expect(await list('state=connected')).toMatchObject({
      status: 'ok',
      sessions: [{ id }],
      nextCursor: null,
    });
    expect((await list('state=failed')).sessions).toEqual([]);
    expect((await list('tenant=acme')).sessions).toHaveLength(1);
    expect((await list('tenant=other')).sessions).toEqual([]);
    for (const bad of ['state=happy', 'limit=0', 'limit=x', 'limit=1e9', 'cursor=%00']) {
      expect([bad, errorFaults(await flotilla.api('GET', `/api/sessions?${bad}`), 400)]).toEqual([bad, []]);
    }
  });

  it('tells what happened as server-sent events, and goes on after the last one', async () => {
    const read = async (
      headers: Record<string, string>,
      until: (text: string) => boolean,
    ): Promise<string> => {
      const response = await fetch(`${flotilla.url}/api/events`, {
        headers,
        signal: AbortSignal.timeout(patient(8_000)),
      });
      expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
      let text = '';
      const decoder = new TextDecoder();
      for await (const chunk of response.body ?? []) {
        text += decoder.decode(chunk as Uint8Array, { stream: true });
        if (until(text)) break;
      }
      return text;
    };
    const key = { 'x-api-key': 'contract-api-key-0123456789' };
    const first = read(key, (text) => /^id: ?\S+/m.test(text) && text.includes('reconnecting'));
    await eventually('an event', async () => {
      await event('STATUS_CHANGE', { status: 'RECONNECTING' });
      await event('CONNECTED', { phoneNumber: PHONE, jid: `${PHONE}@s.whatsapp.net` });
      return Promise.race([
        first.then(() => true),
        new Promise<false>((r) => setTimeout(() => r(false), 200)),
      ]);
    });
    const last = [...(await first).matchAll(/^id: ?(\S+)/gm)].at(-1)?.[1] ?? '';
    const seen = await read({ ...key, 'last-event-id': last }, (text) => /^id: ?\S+/m.test(text));
    expect(/^id: ?(\S+)/m.exec(seen)?.[1]).not.toBe(last);
  });

  it('shows its log, and restarts with a new worker', async () => {
    const logs = await flotilla.api('GET', `/api/sessions/${id}/logs`);
    expect(logs.status).toBe(200);
    const answer = await flotilla.api('POST', `/session/restart/${id}`);
    expect([answer.status, answer.body]).toEqual([
      200,
      expect.objectContaining({ status: 'ok', restarted: id }),
    ]);
    await eventually('the old one gone', async () => (await view(id)).state !== 'connected', 15_000);
  });
});
