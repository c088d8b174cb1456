import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorFaults, eventually, type Flotilla, fileForm, startFlotilla } from './flotilla.ts';

interface Delivered {
  contentType: string | undefined;
  body: Record<string, unknown>;
}

let flotilla: Flotilla;
const alerts: Delivered[] = [];
const receiver = http.createServer((req, res) => {
  let text = '';
  req.on('data', (chunk) => {
    text += chunk;
  });
  req.on('end', () => {
    alerts.push({ contentType: req.headers['content-type'], body: JSON.parse(text) });
    res.end('{}');
  });
});

beforeAll(async () => {
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const { port } = receiver.address() as AddressInfo;
  flotilla = await startFlotilla({ ALERT_WEBHOOK_URL: `http://127.0.0.1:${port}/hook` });
});
afterAll(async () => {
  await flotilla?.stop();
  receiver.close();
});

const P1 = 'http://user:top-secret@10.9.0.1:8080';
const P2 = '10.9.0.2:3128:user:top-secret';
const status = async () => (await flotilla.api('GET', '/status')).body;
const listed = async (): Promise<Record<string, unknown>[]> =>
  (await flotilla.api('GET', '/api/proxies')).body.proxies;
const isMember = (key: string, proxy: string): Promise<number> => flotilla.redis.sismember(key, proxy);

describe('GET /status', () => {
  it('has exactly the shape of the document, empty and filled', async () => {
    expect(await status()).toMatchObject({
      status: 'ok',
      inventory: { profiles: { available: 0, used: 0 }, proxies: { available: 0, total: 0, bad: 0 } },
      rules: { maxSessionsPerProxy: 4, maxSessionsPerPhone: 4 },
    });
    await flotilla.api('POST', '/upload/profiles', fileForm('a\nb\nc\n'));
    await flotilla.api('POST', '/upload/proxies', fileForm(`${P1}\n${P2}\n`));
    expect((await status()).inventory).toMatchObject({
      profiles: { available: 3, used: 0 },
      proxies: { available: 2, total: 2, bad: 0 },
    });
  });
});

describe('GET /api/proxies', () => {
  it('shows sessions, cap, state and host, and no password', async () => {
    const answer = await flotilla.api('GET', '/api/proxies');
    expect(answer.status).toBe(200);
    expect(answer.body.status).toBe('ok');
    expect(answer.text).not.toContain('top-secret');
    expect(answer.body.proxies).toHaveLength(2);
    for (const proxy of answer.body.proxies) {
      expect(proxy).toMatchObject({ sessions: 0, cap: 4, state: expect.any(String), lastError: null });
      expect(JSON.stringify(proxy)).toMatch(/10\.9\.0\.[12]/);
    }
  });
});

describe('a bad proxy', () => {
  it('leaves the pool, moves nobody, and comes back only when it is said', async () => {
    const session = await flotilla.api('POST', '/api/sessions', { phone: '972500000001' });
    expect(session.status).toBe(201);
    const [P1 = ''] = Object.keys(await flotilla.redis.hgetall('proxy:active_count'));
    const bad = await flotilla.api('POST', '/api/proxies/bad', { proxy: P1 });
    expect([bad.status, bad.body.status]).toEqual([200, 'ok']);
    expect([await isMember('proxies:bad', P1), await isMember('proxies:available', P1)]).toEqual([1, 0]);
    expect(await isMember('proxies:all', P1)).toBe(1);
    expect((await status()).inventory.proxies).toMatchObject({ available: 1, total: 2, bad: 1 });
    const after = await flotilla.api('GET', `/api/sessions/${session.body.session.id}`);
    expect(after.body.session.proxy).toBe(session.body.session.proxy);
    expect((await flotilla.api('POST', '/api/proxies/bad', { proxy: P1 })).status).toBe(200);
    await sleep(2_500); // longer than a provisioning tick
    expect(await isMember('proxies:bad', P1)).toBe(1);

    const restored = await flotilla.api('POST', '/api/proxies/restore', { proxy: P1 });
    expect([restored.status, restored.body.status]).toEqual([200, 'ok']);
    expect([await isMember('proxies:bad', P1), await isMember('proxies:available', P1)]).toEqual([0, 1]);
    await flotilla.api('DELETE', `/api/sessions/${session.body.session.id}`);
  });

  it('is 404 for an unknown one, 400 without a name', async () => {
    for (const [method, path] of [
      ['POST', '/api/proxies/bad'],
      ['POST', '/api/proxies/restore'],
      ['DELETE', '/api/proxies'],
    ] as const) {
      expect([path, errorFaults(await flotilla.api(method, path, { proxy: '10.8.8.8:1' }), 404)]).toEqual([
        path,
        [],
      ]);
      const missing = await flotilla.api(method, path, {});
      expect([path, errorFaults(missing, 400)]).toEqual([path, []]);
      expect(missing.body.reason).toContain('proxy');
      expect([path, errorFaults(await flotilla.api(method, path, { proxy: 5 }), 400)]).toEqual([path, []]);
    }
  });
});

describe('DELETE /api/proxies', () => {
  it('takes it out of the pool, and removes it when nobody is on it', async () => {
    const drained = await flotilla.api('DELETE', '/api/proxies', { proxy: P2 });
    expect([drained.status, drained.body.status]).toEqual([200, 'ok']);
    expect(await isMember('proxies:available', P2)).toBe(0);
    await eventually('its removal', async () => (await isMember('proxies:all', P2)) === 0);
    expect((await status()).inventory.proxies.total).toBe(1);
    expect(JSON.stringify(await listed())).not.toContain('10.9.0.2');
  });

  it('waits for the sessions on it', async () => {
    const session = await flotilla.api('POST', '/api/sessions', { phone: '972500000002' });
    expect(session.status).toBe(201);
    await flotilla.api('DELETE', '/api/proxies', { proxy: P1 });
    expect(await isMember('proxies:available', P1)).toBe(0);
    expect(JSON.stringify(await listed())).toMatch(/drain/);
    const refused = await flotilla.api('POST', '/api/sessions', { phone: '972500000003' });
    expect(errorFaults(refused, 409)).toEqual([]);
    expect(refused.body.code).toBe('no_proxy_available');
    await flotilla.api('DELETE', `/api/sessions/${session.body.session.id}`);
    await eventually('its removal', async () => (await isMember('proxies:all', P1)) === 0, 12_000);
  });
});

describe('alerts', () => {
  it('delivers one for the condition, not one a request', async () => {
    for (let i = 0; i < 5; i++) {
      const refused = await flotilla.api('POST', '/api/sessions', { phone: `97250000010${i}` });
      expect(refused.body.code).toBe('no_proxy_available');
    }
    await eventually('the alert', async () => alerts.length > 0);
    await sleep(2_500);
    const about = alerts.filter((alert) => /proxy/i.test(JSON.stringify(alert.body)));
    expect(about).toHaveLength(1);
    expect(about[0]?.contentType).toMatch(/^application\/json/);
    const metrics = await fetch(`${flotilla.url}/metrics`);
    expect(await metrics.text()).toMatch(/alert/);
    expect(flotilla.log()).toMatch(/no.{0,12}proxy/i);
  });

  it('delivers one again after the condition was over', async () => {
    const before = alerts.length;
    await flotilla.api('POST', '/upload/proxies', fileForm('10.9.0.9:3128\n'));
    const session = await flotilla.api('POST', '/api/sessions', { phone: '972500000201' });
    expect(session.status).toBe(201);
    await sleep(2_200);
    await flotilla.api('POST', '/api/proxies/bad', { proxy: '10.9.0.9:3128' });
    expect((await flotilla.api('POST', '/api/sessions', { phone: '972500000202' })).status).toBe(409);
    await eventually('the second alert', async () => alerts.length > before);
  });
});
