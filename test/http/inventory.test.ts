import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RedisInventoryStore } from '../../src/infra/redis/inventory-store.ts';
import { keys } from '../../src/infra/redis/keys.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { inventoryRoutes } from '../../src/orchestrator/http/routes/inventory.ts';
import { Inventory } from '../../src/services/inventory/inventory.ts';
import { asManager, startTestServer, TEST_API_KEY, type TestServer } from '../helpers/http.ts';
import { unkeptPieces } from '../helpers/unkept-pieces.ts';
import {
  checkInvariants,
  type InventoryHarness,
  proxyLine,
  seed,
  startInventory,
  wanting,
} from '../infra/redis/inventory-harness.ts';

const LIMIT = 1024 * 1024;
let inventory: InventoryHarness;
let server: TestServer;
const rebound: string[] = [];
const events: { type: string; data: Record<string, unknown> }[] = [];

beforeAll(async () => {
  inventory = await startInventory();
  const { redis, scripts } = inventory;
  const service = new Inventory({
    store: new RedisInventoryStore({ redis, scripts, sessionsPerProxy: 4 }),
    clock: systemClock,
    log: silentLogger,
    events: {
      record: async (event) => {
        events.push(event);
      },
    },
    pieces: unkeptPieces,
    marks: { set: async () => undefined, drop: async () => undefined, all: async () => [] },
  });
  const routes = inventoryRoutes({
    inventory: service,
    rules: { maxSessionsPerProxy: 4, maxSessionsPerPhone: 4 },
    uploadLimitBytes: LIMIT,
    statusSections: async () => ({ sessions: { connected: 2 } }),
    onRebind: async (proxy) => {
      rebound.push(proxy);
    },
  });
  server = await startTestServer([routes]);
});
afterAll(async () => {
  await server.stop();
  await inventory.stop();
});
beforeEach(async () => {
  await inventory.redis.flushall();
  rebound.length = 0;
  events.length = 0;
});

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

async function answerOf(response: Response): Promise<Answer> {
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

async function upload(
  kind: string,
  content: string | Uint8Array<ArrayBuffer>,
  field = 'file',
): Promise<Answer> {
  const form = new FormData();
  form.append(field, new Blob([content]), 'list.txt');
  return post(`/upload/${kind}`, form);
}

async function post(
  path: string,
  body: string | FormData,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return answerOf(
    await fetch(`${server.url}${path}`, {
      method: 'POST',
      body,
      headers: { 'x-api-key': TEST_API_KEY, ...headers },
    }),
  );
}

const json = async (method: string, path: string, body?: unknown): Promise<Answer> =>
  answerOf(
    await fetch(`${server.url}${path}`, {
      method,
      headers: asManager,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );

async function expectNothingStored(): Promise<void> {
  expect(await inventory.redis.keys('*')).toEqual([]);
}

describe('uploads', () => {
  test('counts what is new, reports duplicates and bad lines, and skips comments', async () => {
    const text = [
      '# my proxies',
      'http://u:p@10.0.0.1:8080',
      '',
      '   10.0.0.2:8080  ',
      'http://10.0.0.2:8080',
      'ftp://10.0.0.3:21',
      '10.0.0.4:99999',
      'http://u:p@10.0.0.1:8080',
      '10.0.0.1:8080:u:p',
    ].join('\n');
    const { status, body } = await upload('proxies', text);
    expect(status).toBe(200);
    expect(body).toEqual({
      status: 'ok',
      added: 2,
      duplicates: 3,
      rejected: [
        { line: 6, reason: 'scheme must be one of http, https, socks4, socks5, socks5h' },
        { line: 7, reason: 'the port must be 1 to 65535' },
      ],
      rejectedTotal: 2,
    });
    expect((await inventory.redis.smembers(keys.proxiesAll)).sort()).toEqual([
      '10.0.0.2:8080',
      'http://u:p@10.0.0.1:8080',
    ]);
    await checkInvariants(inventory);
    expect((await upload('proxies', text)).body).toMatchObject({ added: 0, duplicates: 5 });
  });

  test('BOM, CRLF and a missing last line feed are fine', async () => {
    const { body } = await upload('profiles', '\uFEFFfirst\r\n\r\n# no\r\nשלום\r\nlast');
    expect(body).toMatchObject({ added: 3, duplicates: 0, rejectedTotal: 0 });
    expect(await inventory.registry.nextProfiles(5)).toEqual(['first', 'שלום', 'last']);
    await checkInvariants(inventory);
  });

  test('profiles that are used count as duplicates; an id of another profile is refused', async () => {
    const first = '{"id":"a","phone":"972501234567"}';
    expect((await upload('profiles', `${first}\n{"id":"b"}`)).body).toMatchObject({ added: 2 });
    await seed(inventory, { proxies: [proxyLine(1)] });
    await inventory.registry.allocate(wanting('s1', { profile: first }));
    const again = await upload(
      'profiles',
      `${first}\n{"id":"b","name":"other"}\n{"id":"c"}\n{"id": "c"}\n{nonsense`,
    );
    expect(again.body).toEqual({
      status: 'ok',
      added: 1,
      duplicates: 1,
      rejected: [
        { line: 2, reason: 'another profile has this "id"' },
        { line: 4, reason: 'another profile has this "id"' },
        { line: 5, reason: 'the line starts with { but is not valid JSON' },
      ],
      rejectedTotal: 3,
    });
    await checkInvariants(inventory);
  });

  test('uploading again takes a profile off hold and a proxy out of draining, but never makes a bad one good', async () => {
    await upload('profiles', 'p1');
    await upload('proxies', `${proxyLine(1)}\n${proxyLine(2)}`);
    await inventory.registry.allocate(wanting('s1', { profile: 'p1', pinnedProxy: proxyLine(1) }));
    await json('DELETE', '/api/proxies', { proxy: proxyLine(1) });
    await json('POST', '/api/proxies/bad', { proxy: proxyLine(2) });
    await upload('proxies', `${proxyLine(1)}\n${proxyLine(2)}`);
    expect(await inventory.redis.smembers(keys.proxiesAvailable)).toEqual([proxyLine(1)]);
    await inventory.registry.release('s1', { keepProfile: false, holdProfile: true });
    expect(await inventory.registry.nextProfiles(1)).toEqual([]);
    expect((await upload('profiles', 'p1')).body).toMatchObject({ added: 0, duplicates: 1 });
    expect(await inventory.registry.nextProfiles(1)).toEqual(['p1']);
    await checkInvariants(inventory);
  });

  test('only the first hundred bad lines are listed', async () => {
    const lines = Array.from({ length: 250 }, (_, n) => `bad line ${n}`);
    const { body } = await upload('proxies', `${lines.join('\n')}\n10.0.0.1:80\n`);
    expect(body).toMatchObject({ added: 1, rejectedTotal: 250 });
    expect(body.rejected).toHaveLength(100);
    expect((body.rejected as { line: number }[])[99]?.line).toBe(100);
  });

  test('a line of more than 8 KiB is refused and the next one is not', async () => {
    const { body } = await upload('profiles', `before\n${'x'.repeat(300_000)}\nafter`);
    expect(body).toMatchObject({
      added: 2,
      rejected: [{ line: 2, reason: 'the line is longer than 8192 bytes' }],
    });
    expect(await inventory.registry.nextProfiles(5)).toEqual(['before', 'after']);
  });

  const bytes = (...values: number[]) => new Uint8Array(values);
  test.each([
    ['an empty file', '', 'empty_upload'],
    ['only comments and blank lines', '# a\n\n  \n#b', 'empty_upload'],
    ['NUL bytes', 'abc\0def', 'not_text'],
    ['a PNG', bytes(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a), 'not_text'],
    ['invalid UTF-8', bytes(0x61, 0xc3, 0x28, 0x0a), 'not_text'],
    ['UTF-8 that breaks off', bytes(0x61, 0x0a, 0xe2, 0x82), 'not_text'],
    ['UTF-16', bytes(0xff, 0xfe, 0x61, 0x00), 'not_text'],
  ])('%s is refused', async (_, content, code) => {
    for (const kind of ['profiles', 'proxies']) {
      const { status, body } = await upload(kind, content);
      expect({ status, code: body.code, field: body.field }).toEqual({ status: 400, code, field: 'file' });
    }
    await expectNothingStored();
  });

  test('text that turns out to be binary after a megabyte adds nothing', async () => {
    const lines = `${Array.from({ length: 40_000 }, (_, n) => `profile ${n}`).join('\n')}\n`;
    expect((await upload('profiles', `${lines}\0`)).body).toMatchObject({ code: 'not_text' });
    await expectNothingStored();
  });

  test('no file, the wrong field, two files, a text field', async () => {
    const withField = new FormData();
    withField.append('file', 'not a file');
    expect(await post('/upload/proxies', withField)).toMatchObject({
      status: 400,
      body: { code: 'invalid_upload', reason: 'file: is missing; send one file in this field.' },
    });
    expect(await upload('proxies', '10.0.0.1:80', 'proxies')).toMatchObject({
      status: 400,
      body: {
        code: 'invalid_upload',
        reason: 'proxies: unexpected; the file belongs into the field "file".',
      },
    });
    const two = new FormData();
    two.append('file', new Blob(['10.0.0.1:80']), 'a.txt');
    two.append('file', new Blob(['10.0.0.2:80']), 'b.txt');
    expect(await post('/upload/proxies', two)).toMatchObject({
      status: 400,
      body: { code: 'invalid_upload', reason: 'file: send one file, not several.' },
    });
    await expectNothingStored();
  });

  const BOUNDARY = 'xyz';
  const multipart = (...lines: string[]) => lines.join('\r\n');
  const part = 'Content-Disposition: form-data; name="file"; filename="a.txt"';
  test.each([
    ['no closing boundary', multipart(`--${BOUNDARY}`, part, '', '10.0.0.1:80'), 'broken_multipart'],
    ['no boundary at all', '10.0.0.1:80\n', 'broken_multipart'],
    ['an empty body', '', 'broken_multipart'],
    ['no part', `--${BOUNDARY}--\r\n`, 'invalid_upload'],
    [
      'a broken header',
      multipart(`--${BOUNDARY}`, 'nonsense\x01', '', 'x', `--${BOUNDARY}--`, ''),
      'broken_multipart',
    ],
  ])('a multipart body with %s is refused', async (_, body, code) => {
    const headers = { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` };
    expect(await post('/upload/proxies', body, headers)).toMatchObject({ status: 400, body: { code } });
    await expectNothingStored();
  });

  test('multipart without a boundary parameter, and other content types', async () => {
    expect(await post('/upload/proxies', 'x', { 'content-type': 'multipart/form-data' })).toMatchObject({
      status: 400,
      body: { code: 'broken_multipart' },
    });
    for (const type of ['text/plain', 'application/json', 'application/x-www-form-urlencoded']) {
      expect(await post('/upload/proxies', '10.0.0.1:80', { 'content-type': type })).toMatchObject({
        status: 415,
        body: { code: 'unsupported_content_type' },
      });
    }
    await expectNothingStored();
  });

  test('a file over the limit is refused, whether its size is announced or not', async () => {
    const big = `${'10.0.0.1:80\n'.repeat(1000)}`.repeat(100);
    expect(await upload('proxies', big)).toMatchObject({ status: 413, body: { code: 'file_too_large' } });
    const head = `--${BOUNDARY}\r\n${part}\r\n\r\n`;
    const chunks = [
      head,
      ...Array.from({ length: 100 }, () => '10.0.0.1:80\n'.repeat(1000)),
      `\r\n--${BOUNDARY}--\r\n`,
    ];
    const stream = new ReadableStream({
      pull(controller) {
        const next = chunks.shift();
        if (next === undefined) controller.close();
        else controller.enqueue(Buffer.from(next));
      },
    });
    const response = await fetch(`${server.url}/upload/proxies`, {
      method: 'POST',
      body: stream,
      duplex: 'half',
      headers: { 'x-api-key': TEST_API_KEY, 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
    } as RequestInit);
    expect(await answerOf(response)).toMatchObject({ status: 413, body: { code: 'file_too_large' } });
    await expectNothingStored();
  });

  test('a client that goes away halfway leaves nothing behind', async () => {
    const { port } = new URL(server.url);
    const lines = '10.0.0.1:80\n10.0.0.2:80\n'.repeat(2000);
    await new Promise<void>((resolve) => {
      const req = httpRequest({
        port,
        path: '/upload/proxies',
        method: 'POST',
        headers: { 'x-api-key': TEST_API_KEY, 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
      });
      req.on('error', () => resolve());
      req.write(`--${BOUNDARY}\r\n${part}\r\n\r\n${lines}`, () => setTimeout(() => req.destroy(), 100));
    });
    await expect.poll(() => inventory.redis.keys('*')).toEqual([]);
  });

  test('no key, no upload', async () => {
    const form = new FormData();
    form.append('file', new Blob(['x']), 'a');
    const response = await fetch(`${server.url}/upload/profiles`, { method: 'POST', body: form });
    expect(response.status).toBe(401);
  });
});

describe('status and proxies', () => {
  test('status has the documented shape', async () => {
    await upload('profiles', 'a\nb\nc');
    await upload('proxies', [1, 2, 3].map(proxyLine).join('\n'));
    await inventory.registry.allocate(wanting('s1', { profile: 'a' }));
    await json('POST', '/api/proxies/bad', { proxy: proxyLine(3) });
    const { body } = await json('GET', '/status');
    expect(body).toEqual({
      status: 'ok',
      inventory: {
        profiles: { available: 2, used: 1 },
        proxies: { available: 2, total: 3, bad: 1 },
      },
      rules: { maxSessionsPerProxy: 4, maxSessionsPerPhone: 4 },
      reserve: { heldProfiles: 0, drainingProxies: 0, capacity: 7 },
      sessions: { connected: 2 },
    });
  });

  test('proxies are listed without credentials, and in pages', async () => {
    const lines = Array.from({ length: 250 }, (_, n) => `http://user:secret@10.0.1.${n}:8080`);
    await upload('proxies', lines.join('\n'));
    const seen = new Set<string>();
    let cursor: string | null = null;
    do {
      const query = cursor === null ? '' : `&cursor=${cursor}`;
      const { body } = await json('GET', `/api/proxies?limit=40${query}`);
      const page = body.proxies as { id: string; proxy: string }[];
      expect(page.length).toBeLessThanOrEqual(40);
      for (const { proxy } of page) seen.add(proxy);
      expect(JSON.stringify(body)).not.toContain('secret');
      cursor = body.nextCursor as string | null;
    } while (cursor !== null);
    expect(seen.size).toBe(250);
    expect((await json('GET', '/api/proxies?state=nonsense')).status).toBe(400);
    expect((await json('GET', '/api/proxies?limit=0')).status).toBe(400);
    expect((await json('GET', '/api/proxies?cursor=nonsense')).status).toBe(400);
  });

  test('bad, restored, drained', async () => {
    await upload('proxies', [1, 2].map(proxyLine).join('\n'));
    for (let n = 0; n < 4; n++) {
      await inventory.registry.allocate(wanting(`s${n}`, { pinnedProxy: proxyLine(1) }));
    }
    const states = async (state: string) =>
      ((await json('GET', `/api/proxies?state=${state}`)).body.proxies as { proxy: string }[]).map(
        (p) => p.proxy,
      );
    expect(await states('full')).toEqual(['http://10.0.0.1:8080']);
    const bad = await json('POST', '/api/proxies/bad', {
      proxy: '10.0.0.1:8080',
      error: 'answers 407',
      rebind: true,
    });
    expect(bad).toMatchObject({
      status: 200,
      body: {
        rebinding: true,
        proxy: {
          proxy: 'http://10.0.0.1:8080',
          state: 'bad',
          sessions: 4,
          cap: 4,
          lastError: { error: 'answers 407' },
        },
      },
    });
    expect(rebound).toEqual([proxyLine(1)]);
    expect(await states('bad')).toEqual(['http://10.0.0.1:8080']);
    expect(await states('full')).toEqual([]);
    await inventory.registry.release('s0', { keepProfile: false });
    expect(await inventory.redis.sismember(keys.proxiesAvailable, proxyLine(1))).toBe(0);
    await checkInvariants(inventory);

    const id = (bad.body.proxy as { id: string }).id;
    expect(await json('POST', '/api/proxies/restore', { proxy: id })).toMatchObject({
      body: { proxy: { state: 'available', sessions: 3, lastError: null } },
    });
    expect(await json('DELETE', '/api/proxies', { proxy: 'http://10.0.0.1:8080' })).toMatchObject({
      body: { removed: false, sessions: 3 },
    });
    expect(await states('draining')).toEqual(['http://10.0.0.1:8080']);
    for (let n = 1; n < 4; n++) await inventory.registry.release(`s${n}`, { keepProfile: false });
    expect(await inventory.redis.smembers(keys.proxiesAll)).toEqual([proxyLine(2)]);
    expect(await json('DELETE', '/api/proxies', { proxy: proxyLine(2) })).toMatchObject({
      body: { removed: true, sessions: 0 },
    });
    expect(await inventory.redis.scard(keys.proxiesAll)).toBe(0);
    expect(JSON.stringify(events)).not.toContain('secret');
    await checkInvariants(inventory);
  });

  test('a proxy is named by its line, another spelling, its address; unknown and ambiguous ones are refused', async () => {
    await upload(
      'proxies',
      'http://a:1@Gate.example:7000\nhttp://b:1@gate.example:7000\nsocks5://10.0.0.9:1080',
    );
    const bad = (proxy: unknown) => json('POST', '/api/proxies/bad', { proxy });
    expect(await bad('gate.example:7000')).toMatchObject({ status: 409, body: { code: 'ambiguous_proxy' } });
    const { ids } = (await bad('gate.example:7000')).body as { ids: string[] };
    expect(ids).toHaveLength(2);
    expect((await bad(ids[0])).status).toBe(200);
    expect((await bad('gate.example:7000:b:1')).status).toBe(200);
    expect((await bad('socks5://10.0.0.9:1080')).status).toBe(200);
    expect(await bad('http://10.0.0.9:1080')).toMatchObject({
      status: 404,
      body: { code: 'proxy_not_found' },
    });
    expect((await bad('10.0.0.9:1080')).status).toBe(200);
    expect((await bad('http://c:1@gate.example:7000')).status).toBe(404);
    for (const nonsense of ['', 7, null, undefined, 'x'.repeat(9000)]) {
      expect(await bad(nonsense)).toMatchObject({ status: 400, body: { field: 'proxy' } });
    }
    expect((await json('POST', '/api/proxies/restore', { proxy: 'px_0123456789abcdef' })).status).toBe(404);
    expect((await json('DELETE', '/api/proxies', {})).status).toBe(400);
    expect(await json('POST', '/api/proxies/bad', { proxy: 'h:1', rebind: 'yes' })).toMatchObject({
      status: 400,
    });
  });
});
