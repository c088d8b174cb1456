import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Flotilla, request, startFlotilla } from './flotilla.ts';

interface Operation {
  summary?: string;
  operationId?: string;
  parameters?: { name: string; in: string; required?: boolean }[];
  requestBody?: { content: Record<string, unknown> };
  responses: Record<string, unknown>;
  security?: unknown[];
}

/** What is read of the document here. */
interface ApiDocument {
  openapi: string;
  info: { title: string; version: string };
  components: { securitySchemes: Record<string, { name: string }> };
  /** By path and method. */
  paths: Record<string, Record<string, Operation>>;
}

let flotilla: Flotilla;
let document: ApiDocument;
beforeAll(async () => {
  flotilla = await startFlotilla();
  document = (await request(`${flotilla.url}/openapi.json`, 'GET')).body as unknown as ApiDocument;
});
afterAll(() => flotilla?.stop());

const CONTRACT = [
  'get /health',
  'get /ready',
  'get /metrics',
  'post /upload/profiles',
  'post /upload/proxies',
  'get /status',
  'get /api/proxies',
  'delete /api/proxies',
  'post /api/proxies/bad',
  'post /api/proxies/restore',
  'post /api/messages',
  'get /api/messages/{jobId}',
  'get /api/messages/{jobId}/tasks',
  'post /api/messages/{jobId}/pause',
  'post /api/messages/{jobId}/resume',
  'post /api/messages/{jobId}/cancel',
  'post /api/messages/{jobId}/retry-failed',
  'get /api/tasks/{taskId}',
  'post /api/sessions',
  'get /api/sessions',
  'get /api/sessions/{id}',
  'delete /api/sessions/{id}',
  'post /api/sessions/{id}/start',
  'post /api/sessions/{id}/stop',
  'post /api/sessions/{id}/restart',
  'post /api/sessions/{id}/logout',
  'get /api/sessions/{id}/logs',
  'get /api/sessions/{id}/qr',
  'post /api/sessions/{id}/pairing-code',
  'post /session/restart/{id}',
  'get /api/events',
  'post /api/sessions/{id}/outbox/enqueue',
  'get /api/sessions/{id}/outbox',
  'delete /api/sessions/{id}/outbox',
  'get /api/sessions/{id}/outbox/dead',
  'post /api/sessions/{id}/outbox/dead/replay',
  'post /api/worker/sessions/{id}/outbox/claim',
  'post /api/worker/sessions/{id}/outbox/ack',
  'post /api/worker/sessions/{id}/outbox/nack',
  'post /api/worker/sessions/{id}/outbox/touch',
  'post /api/worker/sessions/{id}/events',
  'get /api/worker/sessions/{id}/auth',
  'put /api/worker/sessions/{id}/auth',
  'get /api/worker/media/{ref}',
];

/** Every operation of the document, as `get /path`. */
const operations = (): [string, Operation][] =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]): [string, Operation] => [`${method} ${path}`, operation]),
  );

describe('openapi.json', () => {
  it('is OpenAPI 3.1 and names both keys', () => {
    expect(document.openapi).toMatch(/^3\.1\./);
    expect(document.info).toMatchObject({
      title: 'Flotilla',
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    });
    const headers = Object.values(document.components.securitySchemes).map((scheme) => scheme.name);
    expect(headers.map((name) => name.toLowerCase()).sort()).toEqual(['x-api-key', 'x-webhook-secret']);
  });

  it('lists every path of the contract', () => {
    const known = new Set(operations().map(([name]) => name));
    expect(CONTRACT.filter((name) => !known.has(name))).toEqual([]);
  });

  it('has a summary, answers and every path parameter for each operation', () => {
    const faults = operations().flatMap(([name, operation]) => {
      const inPath = (operation.parameters ?? []).filter((p) => p.in === 'path' && p.required);
      const declared = inPath.map((p) => p.name);
      const wanted = [...name.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      return [
        ...(operation.summary ? [] : [`${name}: no summary`]),
        ...(Object.keys(operation.responses).some((s) => /^[23]\d\d$/.test(s)) ? [] : [`${name}: no answer`]),
        ...(wanted.join() === declared.join() ? [] : [`${name}: path parameters ${declared}`]),
      ];
    });
    expect(faults).toEqual([]);
  });

  it('has unique operation ids, and no reference that leads nowhere', () => {
    const ids = operations().flatMap(([, operation]) => operation.operationId ?? []);
    expect(new Set(ids).size).toBe(ids.length);
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(
      (match) => match[1] ?? '',
    );
    const lost = references.filter(
      (path) =>
        path
          .split('/')
          .reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document) ===
        undefined,
    );
    expect(lost).toEqual([]);
  });

  it('tells what is protected by which key, as the server does it', async () => {
    const wrong: string[] = [];
    for (const [name, operation] of operations()) {
      const [method = '', path = ''] = name.split(' ');
      const isProtected = (operation.security ?? []).length > 0;
      if (path === '/api/events') continue;
      const { status } = await request(flotilla.url + path.replaceAll(/\{\w+\}/g, 'x'), method.toUpperCase());
      if ((status === 401) !== isProtected) wrong.push(`${name}: ${status}`);
    }
    expect(wrong).toEqual([]);
  });

  it('describes uploads and messages as multipart', () => {
    for (const path of ['/upload/profiles', '/upload/proxies', '/api/messages']) {
      expect(Object.keys(document.paths[path]?.post?.requestBody?.content ?? {})).toContain(
        'multipart/form-data',
      );
    }
  });
});

describe('docs', () => {
  it('is a page that needs nothing from elsewhere', async () => {
    const page = await fetch(`${flotilla.url}/docs`);
    const html = await page.text();
    expect(page.headers.get('content-type')).toMatch(/^text\/html/);
    const sources = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? '');
    expect(sources.filter((source) => /^(https?:)?\/\//.test(source))).toEqual([]);
    for (const source of sources.filter((s) => !s.startsWith('data:') && !s.startsWith('#'))) {
      expect([source, (await fetch(new URL(source, page.url))).status]).toEqual([source, 200]);
    }
  });

  it('can be kept behind the key', async () => {
    const closed = await startFlotilla({ PUBLIC_DOCS: 'false' });
    try {
      for (const path of ['/openapi.json', '/docs', '/metrics']) {
        expect([path, (await request(closed.url + path, 'GET')).status]).toEqual([path, 401]);
        expect([path, (await closed.api('GET', path)).status]).toEqual([path, 200]);
      }
      expect((await request(`${closed.url}/health`, 'GET')).status).toBe(200);
    } finally {
      await closed.stop();
    }
  });
});
