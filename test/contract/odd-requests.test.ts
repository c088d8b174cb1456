import net from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  API_KEY,
  errorFaults,
  type Flotilla,
  fileForm,
  freshId,
  rawRequest,
  request,
  startFlotilla,
  WEBHOOK_SECRET,
} from './flotilla.ts';

let flotilla: Flotilla;
beforeAll(async () => {
  flotilla = await startFlotilla({ ALLOW_DIRECT: 'true' });
});
afterAll(() => flotilla?.stop());

const KEY = `Host: h\r\nX-API-KEY: ${API_KEY}\r\n`;
const JSON_LINE = 'Content-Type: application/json\r\n';

/** Writes bytes, and gives what came back until the connection was closed, or enough of it was there. */
function exchange(bytes: string, isEnough = (_text: string): boolean => false): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(flotilla.port, '127.0.0.1');
    let text = '';
    const end = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no end of the answer; until then: ${text.slice(0, 300)}`));
    }, 10_000);
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (isEnough(text)) end();
    });
    socket.on('close', end);
    socket.on('error', () => undefined);
    socket.write(bytes);
  });
}

/** The last of the answers in a text, in the form that `errorFaults` takes. */
function answerIn(text: string): Parameters<typeof errorFaults>[0] {
  const [head = '', ...rest] = text.slice(text.lastIndexOf('HTTP/1.1')).split('\r\n\r\n');
  const [line = '', ...lines] = head.split('\r\n');
  const headers = new Headers(lines.map((header) => header.split(/: ?(.*)/).slice(0, 2) as [string, string]));
  const body = rest.join('\r\n\r\n');
  return { status: Number(line.split(' ')[1]), headers, text: body, body: JSON.parse(body || 'null') };
}

describe('what is no well-formed HTTP', () => {
  it.each([
    ['no request at all', 'hello\r\n\r\n', 400, 'malformed_request'],
    [
      'headers above the limit',
      `GET /status HTTP/1.1\r\n${KEY}X: ${'a'.repeat(20_000)}\r\n\r\n`,
      431,
      'headers_too_large',
    ],
    [
      'a chunk without a size',
      `POST /api/sessions/s/outbox/enqueue HTTP/1.1\r\n${KEY}${JSON_LINE}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
      400,
      'malformed_request',
    ],
    [
      'two lengths',
      `POST /status HTTP/1.1\r\n${KEY}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`,
      400,
      'malformed_request',
    ],
  ])('is answered as every error is: %s', async (_what, bytes, status, code) => {
    const answer = answerIn(await exchange(bytes));
    expect(errorFaults(answer, status)).toEqual([]);
    expect(answer.body.code).toBe(code);
    expect(answer.headers.get('connection')).toBe('close');
  });
});

describe('unusual ways to ask', () => {
  it('an expectation that nobody knows changes nothing', async () => {
    const text = await exchange(`GET /status HTTP/1.1\r\n${KEY}Expect: a-pony\r\nConnection: close\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('HEAD of the event stream ends', async () => {
    const text = await exchange(`HEAD /api/events HTTP/1.1\r\n${KEY}Connection: close\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(text).toMatch(/content-type: text\/event-stream/i);
  });

  it('other methods on the documents are 405 with Allow, as everywhere', async () => {
    for (const path of ['/openapi.json', '/docs']) {
      const answer = await request(flotilla.url + path, 'PUT');
      expect([path, errorFaults(answer, 405)]).toEqual([path, []]);
      expect(answer.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
      expect((await request(flotilla.url + path, 'OPTIONS')).status).toBe(204);
    }
  });

  it.each([
    ['/api/messages', `X-API-KEY: ${API_KEY}`],
    ['/api/sessions', `X-API-KEY: ${API_KEY}`],
    ['/api/worker/sessions/s/outbox/ack', `X-Webhook-Secret: ${WEBHOOK_SECRET}`],
  ])('a length above the limit is refused before the body comes: %s', async (path, key) => {
    const text = await exchange(
      `POST ${path} HTTP/1.1\r\nHost: h\r\n${key}\r\n${JSON_LINE}Content-Length: 999999999\r\n\r\n{`,
      (all) => all.includes('requestId'),
    );
    expect(answerIn(text)).toMatchObject({ status: 413, body: { code: 'body_too_large' } });
  });

  it('a chunked body above the limit is refused while it still comes', async () => {
    const chunk = `10000\r\n${' '.repeat(0x10000)}\r\n`;
    const text = await exchange(
      `POST /api/sessions HTTP/1.1\r\n${KEY}${JSON_LINE}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(17)}`,
      (all) => all.includes('requestId'),
    );
    expect(answerIn(text)).toMatchObject({ status: 413, body: { code: 'body_too_large' } });
  });

  it('a compressed multipart body is 415, and says why', async () => {
    const body = gzipSync(
      '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\na\r\n--b--\r\n',
    );
    for (const path of ['/upload/profiles', '/api/messages']) {
      const { status, text } = await rawRequest(flotilla.url + path, {
        method: 'POST',
        headers: [
          ...['X-API-KEY', API_KEY, 'Content-Type', 'multipart/form-data; boundary=b'],
          ...['Content-Encoding', 'gzip', 'Content-Length', String(body.length)],
        ],
        body,
      });
      expect([path, status, JSON.parse(text).reason]).toEqual([path, 415, expect.stringContaining('gzip')]);
    }
  });
});

describe('optional fields that are null', () => {
  it('are as good as left out, in sessions and in proxies', async () => {
    const made = await flotilla.api('POST', '/api/sessions', {
      phone: '972500000001',
      ...{ tenant: null, profile: null, provider: null, webhookUrl: null, resources: null },
      proxy: false,
    });
    expect(made.status).toBe(201);
    expect((await flotilla.api('DELETE', `/api/sessions/${made.body.session.id}`)).status).toBe(200);
    await flotilla.api('POST', '/upload/proxies', fileForm('http://null.example:8080\n'));
    const bad = await flotilla.api('POST', '/api/proxies/bad', {
      proxy: 'http://null.example:8080',
      ...{ error: null, rebind: null },
    });
    expect(bad).toMatchObject({ status: 200, body: { rebinding: false } });
    expect((await flotilla.api('DELETE', '/api/proxies', { proxy: 'http://null.example:8080' })).status).toBe(
      200,
    );
  });

  it('and the same request for a session with and without them is the same', async () => {
    const key = { 'idempotency-key': freshId('key') };
    const plain = { phone: '972500000002', proxy: false };
    const first = await flotilla.api('POST', '/api/sessions', plain, key);
    const again = await flotilla.api(
      'POST',
      '/api/sessions',
      { ...plain, tenant: null, resources: null },
      key,
    );
    expect(again.body.session.id).toBe(first.body.session.id);
    await flotilla.api('DELETE', `/api/sessions/${first.body.session.id}`);
  });

  it('in what workers report', async () => {
    const { body } = await flotilla.api('POST', '/api/sessions', { phone: '972500000003', proxy: false });
    const id = body.session.id as string;
    await flotilla.freezeWorker(id);
    const report = (type: string, data: object) =>
      flotilla.worker('POST', `/api/worker/sessions/${id}/events`, {
        sessionId: id,
        type,
        timestamp: null,
        data,
      });
    expect((await report('QR_UPDATE', { qrCode: 'code', expiresAt: null })).status).toBe(200);
    expect((await report('CONNECTED', { phoneNumber: '972500000003', jid: null })).status).toBe(200);
    expect(
      (await report('RECEIPT', { taskId: 't', whatsappId: null, status: 'read', at: null })).status,
    ).toBe(200);
    expect((await report('MESSAGE', { id: null, text: 'hi' })).status).toBe(200);
    expect((await report('STATUS_CHANGE', { status: 'RECONNECTING', reason: null })).status).toBe(200);
    await flotilla.api('DELETE', `/api/sessions/${id}`);
  });
});

describe('reasons', () => {
  it.each([
    ['POST', '/api/sessions', {}, 'phone: is missing'],
    ['POST', '/api/sessions', undefined, 'The body is missing'],
    ['POST', '/api/sessions', [], 'The body must be an object'],
    ['POST', '/api/sessions', { phone: 5 }, 'phone: must be text'],
    ['POST', '/api/sessions', { phone: '972500000001', resources: 'x' }, 'resources: must be an object'],
    ['POST', '/api/sessions/s/outbox/enqueue', { mode: 'message', text: 'x' }, 'to: is missing'],
    ['POST', '/api/sessions/s/outbox/dead/replay', { taskIds: 'x' }, 'taskIds: must be a list'],
    ['POST', '/api/sessions/s/outbox/dead/replay', { taskIds: [] }, 'taskIds: must not be empty'],
    [
      'PUT',
      '/api/sessions/s/webhook',
      { url: `http://h/${'x'.repeat(2048)}` },
      'url: must have at most 2048 characters',
    ],
    [
      'GET',
      '/api/messages?state=x',
      undefined,
      'state: must be one of accepted, waiting, running, paused, done, cancelled',
    ],
    ['GET', '/api/sessions/s/logs?lines=0', undefined, 'lines: must be a whole number from 1 to 2000'],
    ['GET', '/api/sessions/s/webhook/dead?limit=0', undefined, 'limit: must be a whole number from 1 to 200'],
  ])('are sentences for a person: %s %s %j', async (method, path, body, reason) => {
    const answer = await flotilla.api(method, path, body);
    expect(errorFaults(answer, 400)).toEqual([]);
    expect(answer.body.reason).toBe(reason);
  });
});

describe('cursors', () => {
  const lists = [
    '/api/sessions',
    '/api/messages',
    '/api/proxies',
    '/api/sessions/s/outbox/dead',
    '/api/messages/cursors/tasks',
  ];

  it('that no list gave out are refused, and an empty one is none', async () => {
    await flotilla.api('POST', '/api/messages', {
      ...{ jobId: 'cursors', contacts: [{ name: 'a', phone: '972501234567' }], message: 'x' },
      notBefore: '2099-01-01T00:00:00Z',
    });
    for (const list of lists) {
      const refused = await flotilla.api('GET', `${list}?cursor=abc`);
      expect([list, errorFaults(refused, 400)]).toEqual([list, []]);
      expect(refused.body.reason).toMatch(/^cursor/);
      expect([list, (await flotilla.api('GET', `${list}?cursor=`)).status]).toEqual([list, 200]);
    }
  });

  it('an event id that is still to come is taken for the newest one', async () => {
    const gone = new AbortController();
    const stream = await fetch(`${flotilla.url}/api/events`, {
      headers: { 'x-api-key': API_KEY, 'last-event-id': '99999999999' },
      signal: gone.signal,
    });
    const { body } = await flotilla.api('POST', '/api/sessions', { phone: '972500000004', proxy: false });
    const reader = stream.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    while (!text.includes(body.session.id)) text += (await reader?.read())?.value ?? '';
    gone.abort();
    expect(text).toContain('event: session.created');
    await flotilla.api('DELETE', `/api/sessions/${body.session.id}`);
  });
});

describe('messages', () => {
  const post = (name: string, message: string) =>
    flotilla.api('POST', '/api/messages', {
      contacts: [{ name, phone: '972501234567' }],
      message,
      notBefore: '2099-01-01T00:00:00Z',
    });

  it('are measured in characters, not in units of UTF-16', async () => {
    const boat = '\u{1f6f6}';
    expect((await post(boat.repeat(200), 'x')).status).toBe(200);
    expect(errorFaults(await post(boat.repeat(201), 'x'), 400)).toEqual([]);
    expect((await post('a', boat.repeat(65_536))).status).toBe(200);
    expect(errorFaults(await post('a', boat.repeat(65_537)), 400)).toEqual([]);
    expect((await post(boat, `${boat.repeat(65_535)}{{name}}`.slice(0, -8).concat('x'))).status).toBe(200);
    expect((await post(boat.repeat(100), `${boat.repeat(65_428)}{{name}}`)).status).toBe(200);
    expect(errorFaults(await post(boat.repeat(109), `${boat.repeat(65_428)}{{name}}`), 400)).toEqual([]);
  });

  it('with an image as JSON are refused, and not sent without it', async () => {
    const answer = await flotilla.api('POST', '/api/messages', {
      contacts: [{ name: 'a', phone: '972501234567' }],
      message: 'look',
      image: 'iVBORw0KGgo=',
    });
    expect(errorFaults(answer, 400)).toEqual([]);
    expect(answer.body.field).toBe('image');
  });
});

it('the document names the statuses that every route with a key or a body may answer', async () => {
  const { body } = await request(`${flotilla.url}/openapi.json`, 'GET');
  const faults: string[] = [];
  const paths = (body as unknown as { paths: unknown }).paths as Record<
    string,
    Record<string, { security: object[]; requestBody?: object; responses: object }>
  >;
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, { security, requestBody, responses }] of Object.entries(methods)) {
      const wanted = [...(security.length > 0 ? ['401', '429'] : []), ...(requestBody ? ['413', '415'] : [])];
      for (const status of wanted) if (!(status in responses)) faults.push(`${method} ${path} ${status}`);
    }
  }
  expect(faults).toEqual([]);
});
