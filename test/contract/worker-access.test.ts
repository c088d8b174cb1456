import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { issueWorkerToken } from '../../src/orchestrator/http/worker-token.ts';
import { errorFaults, type Flotilla, fileForm, request, startFlotilla, WEBHOOK_SECRET } from './flotilla.ts';

let flotilla: Flotilla;
let session: string;
let epoch: number;
beforeAll(async () => {
  flotilla = await startFlotilla({ MONITOR_INTERVAL_MS: '3600000', WHATSAPP_WS_URL: 'ws://127.0.0.1:9/' });
  await flotilla.api('POST', '/upload/proxies', fileForm('127.0.0.1:9\n'));
  session = (await flotilla.api('POST', '/api/sessions', { phone: '972560000001' })).body.session.id;
  await flotilla.freezeWorker(session);
  epoch = Number(await flotilla.redis.hget(`session:owner:${session}`, 'epoch'));
});
afterAll(() => flotilla?.stop());

const withToken = (token: string, method: string, path: string, body?: unknown) =>
  request(flotilla.url + path, method, body, { 'x-webhook-secret': token });
const own = (): string => issueWorkerToken(WEBHOOK_SECRET, session, epoch);
const at = (path: string, id = session): string => `/api/worker/sessions/${id}/${path}`;

describe('the token of one session', () => {
  it('opens this session, and no other', async () => {
    expect((await withToken(own(), 'POST', at('outbox/claim?timeout=0'))).body).toEqual({
      status: 'ok',
      task: null,
    });
    for (const [method, path, body] of [
      ['POST', 'outbox/claim?timeout=0', undefined],
      ['POST', 'outbox/ack', { raw: 'x' }],
      ['GET', 'auth', undefined],
      ['POST', 'events', { sessionId: 'other', type: 'PING', timestamp: 1, data: { status: 'ALIVE' } }],
    ] as const) {
      const answer = await withToken(own(), method, at(path, 'other'), body);
      expect([path, errorFaults(answer, 403)]).toEqual([path, []]);
    }
    expect(errorFaults(await withToken(own(), 'GET', '/status'), 401)).toEqual([]);
  });

  it('is 401 if it was tampered with', async () => {
    const foreign = issueWorkerToken('another-webhook-secret-0123456789', session, epoch);
    const later = own().replace(`~${epoch}~`, `~${epoch + 1}~`);
    for (const token of [
      foreign,
      later,
      `${own()}x`,
      own().slice(0, -1),
      'v1~~~',
      `v1~${session}~${epoch}~`,
    ]) {
      expect([token, errorFaults(await withToken(token, 'GET', at('auth')), 401)]).toEqual([token, []]);
    }
  });

  it('is 409 stale_epoch once a newer worker owns the session', async () => {
    // Until the newer one has read the auth state, the older one may still complete it.
    expect((await withToken(own(), 'GET', at('auth'))).status).toBe(200);
    const stale = issueWorkerToken(WEBHOOK_SECRET, session, epoch - 1);
    const ping = {
      sessionId: session,
      type: 'PING',
      timestamp: new Date().toISOString(),
      data: { status: 'ALIVE' },
    };
    for (const [method, path, body] of [
      ['POST', 'outbox/claim?timeout=0', undefined],
      ['POST', 'events', ping],
      ['PUT', 'auth', { sequence: 1, set: { creds: {} } }],
    ] as const) {
      const answer = await withToken(stale, method, at(path), body);
      expect([path, answer.status, answer.body?.code]).toEqual([path, 409, 'stale_epoch']);
    }
  });
});

describe('media', () => {
  const media = (ref: string) => flotilla.worker('GET', `/api/worker/media/${ref}`);
  const PNG = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  );

  it('come by name, with their type, to whoever has the secret', async () => {
    await mkdir(join(flotilla.dataDir, 'media'), { recursive: true });
    await writeFile(join(flotilla.dataDir, 'media', 'logo.png'), PNG);
    const response = await fetch(`${flotilla.url}/api/worker/media/logo.png`, {
      headers: { 'x-webhook-secret': WEBHOOK_SECRET },
    });
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'image/png']);
    expect(Buffer.from(await response.arrayBuffer()).equals(PNG)).toBe(true);
    expect(errorFaults(await media('unknown.png'), 404)).toEqual([]);
  });

  it('never come from outside MEDIA_DIR', async () => {
    for (const ref of [
      '..%2Fsecrets.json',
      '%2Fetc%2Fpasswd',
      '..',
      '%2e%2e%2fsecrets.json',
      '.hidden',
      'a%00.png',
      '..%5Cx',
    ]) {
      const answer = await media(ref);
      expect([ref, answer.status >= 400 && answer.status < 500]).toEqual([ref, true]);
      expect(answer.text).not.toMatch(/apiKey|root:/);
    }
  });
});

describe('the central auth state', () => {
  it('is empty at first, and answers nonsense with 400', async () => {
    const first = await flotilla.worker('GET', at('auth'));
    expect([first.status, first.body?.status]).toEqual([200, 'ok']);
    for (const body of ['[]', '5', 'null', '{"keys":5}', '{bad']) {
      const answer = await flotilla.worker('PUT', at('auth'), body, { 'content-type': 'application/json' });
      expect([body, errorFaults(answer, 400)]).toEqual([body, []]);
    }
  });

  it('is written in order, once, and read back as it was written; on the disk it cannot be read', async () => {
    const set = {
      creds: { noiseKey: 'MARK-creds' },
      keys: { 'pre-key': { 1: { private: 'MARK-key' }, 2: 'two' } },
    };
    const put = (sequence: number, change: unknown) =>
      withToken(own(), 'PUT', at('auth'), { sequence, set: change });
    const { sequence } = (await withToken(own(), 'GET', at('auth'))).body;
    expect((await put(sequence + 1, set)).body).toMatchObject({ status: 'ok', applied: true });
    expect((await put(sequence + 1, set)).body).toMatchObject({ status: 'ok', applied: false });
    const gap = await put(sequence + 3, set);
    expect([errorFaults(gap, 409), gap.body.code]).toEqual([[], 'auth_out_of_order']);
    expect((await put(sequence + 2, { keys: { 'pre-key': { 2: null } } })).body.applied).toBe(true);
    const { entries } = (await withToken(own(), 'GET', at('auth'))).body;
    expect(entries).toEqual({ creds: set.creds, keys: { 'pre-key': { 1: { private: 'MARK-key' } } } });
    for (const name of (await readdir(flotilla.dataDir)).filter((file) => file.includes('.sqlite'))) {
      expect([name, (await readFile(join(flotilla.dataDir, name))).includes('MARK-')]).toEqual([name, false]);
    }
    expect(errorFaults(await flotilla.worker('GET', at('auth', 'no-such-session')), 404)).toEqual([]);
  });
});
