import net from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  API_KEY,
  errorFaults,
  type Flotilla,
  rawRequest,
  request,
  startFlotilla,
  WEBHOOK_SECRET,
} from './flotilla.ts';

let flotilla: Flotilla;
beforeAll(async () => {
  flotilla = await startFlotilla();
});
afterAll(() => flotilla?.stop());

const json = ['Content-Type', 'application/json'];

describe('keys', () => {
  it('lets health, readiness, metrics and the documents be read without one', async () => {
    for (const path of ['/health', '/ready', '/metrics', '/openapi.json', '/docs']) {
      const answer = await request(flotilla.url + path, 'GET');
      expect([path, answer.status]).toEqual([path, 200]);
      expect(answer.headers.get('x-request-id')).toBeTruthy();
    }
    const metrics = await request(`${flotilla.url}/metrics`, 'GET');
    expect(metrics.headers.get('content-type')).toMatch(/^text\/plain/);
    expect(metrics.text).toMatch(/^# HELP /m);
    const health = await request(`${flotilla.url}/health`, 'GET');
    expect(health.body.components).toBeTypeOf('object');
  });

  it.each([
    ['GET', '/status'],
    ['POST', '/upload/profiles'],
    ['POST', '/upload/proxies'],
    ['GET', '/api/proxies'],
    ['POST', '/api/messages'],
    ['GET', '/api/messages/x'],
    ['GET', '/api/tasks/x'],
    ['GET', '/api/sessions'],
    ['POST', '/api/sessions'],
    ['POST', '/session/restart/x'],
    ['GET', '/api/events'],
    ['POST', '/api/sessions/x/outbox/enqueue'],
    ['POST', '/api/worker/sessions/x/outbox/claim?timeout=0'],
    ['POST', '/api/worker/sessions/x/outbox/ack'],
    ['POST', '/api/worker/sessions/x/events'],
    ['GET', '/api/worker/sessions/x/auth'],
    ['GET', '/api/worker/media/x.png'],
  ])('%s %s is 401 without a key, and the worker secret is no management key', async (method, path) => {
    const worker = path.startsWith('/api/worker');
    expect(errorFaults(await request(flotilla.url + path, method), 401)).toEqual([]);
    const other: Record<string, string> = worker
      ? { 'x-api-key': API_KEY }
      : { 'x-webhook-secret': WEBHOOK_SECRET };
    expect(errorFaults(await request(flotilla.url + path, method, undefined, other), 401)).toEqual([]);
  });

  it('refuses a wrong, an empty, a longer and a doubled key', async () => {
    for (const key of [
      'wrong',
      '',
      `${API_KEY}x`,
      API_KEY.slice(0, -1),
      `${API_KEY}, ${API_KEY}`,
      `"${API_KEY}"`,
    ]) {
      const answer = await request(`${flotilla.url}/status`, 'GET', undefined, { 'x-api-key': key });
      expect([key, errorFaults(answer, 401)]).toEqual([key, []]);
    }
    for (const pair of [
      [API_KEY, API_KEY],
      ['wrong', API_KEY],
      [API_KEY, 'wrong'],
    ] as const) {
      const { status } = await rawRequest(`${flotilla.url}/status`, {
        headers: ['X-API-KEY', pair[0], 'x-api-key', pair[1]],
      });
      expect([pair, status]).toEqual([pair, 401]);
    }
    const twice = await rawRequest(`${flotilla.url}/api/worker/sessions/s/outbox/claim?timeout=0`, {
      method: 'POST',
      headers: ['X-Webhook-Secret', WEBHOOK_SECRET, 'X-Webhook-Secret', WEBHOOK_SECRET],
    });
    expect(twice.status).toBe(401);
  });
});

describe('request ids', () => {
  it('takes a sane one over, and writes it into the log', async () => {
    const answer = await flotilla.api('GET', '/api/tasks/unknown-task', undefined, {
      'x-request-id': 'abc-123.X_9',
    });
    expect(answer.headers.get('x-request-id')).toBe('abc-123.X_9');
    expect(answer.body.requestId).toBe('abc-123.X_9');
  });

  it('makes its own for none, a long one, and one with odd characters', async () => {
    const ids = new Set<string>();
    for (const given of [undefined, 'x'.repeat(5000), 'a b"c', '<script>']) {
      const answer = await flotilla.api(
        'GET',
        '/status',
        undefined,
        given === undefined ? {} : { 'x-request-id': given },
      );
      const id = answer.headers.get('x-request-id') ?? '';
      expect(id).toMatch(/^[A-Za-z0-9_.:-]{8,128}$/);
      expect(id).not.toBe(given);
      ids.add(id);
    }
    expect(ids.size).toBe(4);
  });
});

describe('routes', () => {
  it('answers 404 for what does not exist', async () => {
    for (const path of [
      '/',
      '/nope',
      '/api',
      '/api/nope',
      '/api/sessions/none',
      '/api/messages/none',
      '/api/tasks/none',
    ]) {
      expect([path, errorFaults(await flotilla.api('GET', path), 404)]).toEqual([path, []]);
    }
  });

  it('answers 405 with Allow for another method', async () => {
    for (const [method, path] of [
      ['GET', '/upload/profiles'],
      ['DELETE', '/status'],
      ['PUT', '/api/messages'],
      ['PATCH', '/api/sessions'],
      ['POST', '/health'],
    ] as const) {
      const answer = await flotilla.api(method, path);
      expect([path, errorFaults(answer, 405)]).toEqual([path, []]);
      expect(answer.headers.get('allow')).toBeTruthy();
    }
  });

  it('survives broken paths and query strings', async () => {
    for (const path of [
      '/api/sessions/%E0%A4%A',
      '/api/sessions/%00',
      '/api/tasks/..%2f..%2fetc',
      '/api/sessions?limit=1&limit=2',
      '/api/sessions?limit=abc',
    ]) {
      const { status, text } = await rawRequest(flotilla.url + path, { headers: ['X-API-KEY', API_KEY] });
      expect([path, status >= 400 && status < 500, text.includes('"status":"error"')]).toEqual([
        path,
        true,
        true,
      ]);
    }
  });
});

describe('bodies', () => {
  const post = (body: string | Buffer, headers: string[], path = '/api/messages') =>
    rawRequest(flotilla.url + path, { method: 'POST', headers: ['X-API-KEY', API_KEY, ...headers], body });

  it.each([
    ['broken JSON', '{"contacts":[', 400],
    ['nothing', '', 400],
    ['a number', '5', 400],
    ['null', 'null', 400],
    ['an array', '[]', 400],
    ['a deep body', '['.repeat(100_000) + ']'.repeat(100_000), 400],
    ['bad UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), 400],
    ['__proto__', '{"__proto__":{"contacts":1},"constructor":{"prototype":1}}', 400],
  ])('answers %s with 400', async (_name, body, status) => {
    const paths = ['/api/messages', '/api/sessions', '/api/sessions/s/outbox/enqueue', '/api/proxies/bad'];
    for (const path of paths) {
      const answer = await post(body, json, path);
      expect([path, answer.status, JSON.parse(answer.text).status]).toEqual([path, status, 'error']);
    }
  });

  it('answers another content type with 415', async () => {
    for (const type of ['text/plain', 'application/xml', 'application/x-www-form-urlencoded']) {
      const answer = await flotilla.api('POST', '/api/messages', '{"contacts":[]}', { 'content-type': type });
      expect([type, errorFaults(answer, 415)]).toEqual([type, []]);
    }
    expect((await post('{}', ['Content-Type', 'application/json; charset=latin-9'])).status).toBe(415);
    expect((await post('{}', [...json, 'Content-Encoding', 'zstd-9'])).status).toBe(415);
    expect((await post('not gzip', [...json, 'Content-Encoding', 'gzip'])).status).toBeLessThan(500);
  });

  it('answers a body that is too large with 413, also on small routes', async () => {
    const big = JSON.stringify({ phone: '1'.repeat(5 << 20) });
    expect(
      errorFaults(
        await flotilla.api('POST', '/api/sessions', big, { 'content-type': 'application/json' }),
        413,
      ),
    ).toEqual([]);
    expect((await flotilla.api('GET', '/status')).status).toBe(200);
  });

  it('answers nonsense on the socket with 400, and goes on', async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = net.connect(flotilla.port, '127.0.0.1', () => socket.write('HELO there\r\n\r\n'));
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk.toString();
      });
      socket.on('close', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect((await flotilla.api('GET', '/status')).status).toBe(200);
  });

  it('never answered with a 5xx, and wrote no key into its log', async () => {
    const metrics = await request(`${flotilla.url}/metrics`, 'GET');
    expect(metrics.text).not.toMatch(/(status|code)="5\d\d"/);
    expect(flotilla.log()).not.toContain(API_KEY);
    expect(flotilla.log()).not.toContain(WEBHOOK_SECRET);
  });
});

describe('too many wrong keys', () => {
  it('are neither requests without a key nor a look at every endpoint with a wrong one', async () => {
    const statuses = new Set<number>();
    for (let round = 0; round < 20; round++) {
      const none = () => request(`${flotilla.url}/status`, 'GET');
      for (const { status } of await Promise.all(Array.from({ length: 20 }, none))) statuses.add(status);
    }
    for (let n = 0; n < 150; n++) {
      const wrong = { 'x-api-key': `wrong-${n}` };
      statuses.add((await request(`${flotilla.url}/status`, 'GET', undefined, wrong)).status);
    }
    expect([...statuses]).toEqual([401]);
  });

  it('answers 429 with Retry-After at last', async () => {
    let last: Awaited<ReturnType<typeof request>> | undefined;
    for (let round = 0; round < 30 && last?.status !== 429; round++) {
      const wrong = () =>
        request(`${flotilla.url}/status`, 'GET', undefined, { 'x-api-key': `guess-${Math.random()}` });
      last = (await Promise.all(Array.from({ length: 20 }, wrong))).at(-1);
    }
    expect(last && errorFaults(last, 429)).toEqual([]);
    expect(Number(last?.headers.get('retry-after'))).toBeGreaterThan(0);
    // A client that knows the key is not locked out by somebody who guesses from the same address.
    expect((await flotilla.api('GET', '/status')).status).toBe(200);
  });
});
