import { readdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asWorker, TEST_API_KEY, TEST_WEBHOOK_SECRET } from '../../../helpers/http.ts';
import { apiOf, formOf } from '../../../services/intake/api.ts';
import { type Harness, startHarness } from '../../../services/intake/harness.ts';
import { images } from '../../../services/intake/images.ts';

let h: Harness;
let api: ReturnType<typeof apiOf>;
const { png } = images;
beforeAll(async () => {
  h = await startHarness();
  api = apiOf(h.http.url);
});
afterAll(() => h.stop());

const one = [{ name: 'David', phone: '972501234567' }];
const mediaFiles = async (): Promise<string[]> => readdir(join(h.dir, 'media')).catch(() => []);
const jobCount = async (): Promise<number> => {
  const row = await h.database.db
    .selectFrom('jobs')
    .select((e) => e.fn.countAll<number>().as('n'))
    .executeTakeFirst();
  return Number(row?.n);
};

describe('images', () => {
  it('are recognised by content, stored once by their hash, and reach a worker', async () => {
    const answer = await api.postForm(
      formOf({ contacts: one, jobId: 'with-image' }, { bytes: png, name: 'a.jpg' }),
    );
    expect(answer).toMatchObject({
      status: 200,
      body: { status: 'ok', received: 1, hasImage: true, jobId: 'with-image' },
    });
    const again = await api.postForm(
      formOf({ contacts: one }, { bytes: png, name: '../../b.exe', type: 'text/plain' }),
    );
    expect(again.status).toBe(200);
    const files = await mediaFiles();
    expect(files).toHaveLength(1);
    expect(files[0]).toMatch(/^[0-9a-f]{64}\.png$/);
    const fetched = await fetch(`${h.http.url}/api/worker/media/${files[0]}`, { headers: asWorker });
    expect(fetched.status).toBe(200);
    expect(fetched.headers.get('content-type')).toBe('image/png');
    expect(fetched.headers.get('content-length')).toBe(String(png.length));
    expect(Buffer.from(await fetched.arrayBuffer()).equals(png)).toBe(true);
  });

  it.each([['jpeg'], ['webp']] as const)('may be %s', async (format) => {
    const answer = await api.postForm(formOf({ contacts: one }, { bytes: images[format], name: 'x' }));
    expect(answer.status).toBe(200);
  });

  it('takes data as a file part too', async () => {
    const body = new FormData();
    body.set(
      'data',
      new Blob([JSON.stringify({ contacts: one, message: 'שלום {{name}}' })], { type: 'application/json' }),
    );
    expect((await api.postForm(body)).status).toBe(200);
  });

  it.each([
    [
      'text called .jpg',
      () => formOf({ contacts: one }, { bytes: Buffer.from('hello, I am text'), name: 'a.jpg' }),
      415,
      'unsupported_image',
    ],
    [
      'a GIF',
      () =>
        formOf(
          { contacts: one },
          { bytes: Buffer.from('R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=', 'base64'), name: 'a.png' },
        ),
      415,
      'unsupported_image',
    ],
    [
      'an empty file',
      () => formOf({ contacts: one }, { bytes: Buffer.alloc(0), name: 'a.png' }),
      415,
      'unsupported_image',
    ],
    [
      '20 MB',
      () =>
        formOf(
          { contacts: one },
          { bytes: Buffer.concat([png, Buffer.alloc(20 * 1024 * 1024)]), name: 'a.png' },
        ),
      413,
      'image_too_large',
    ],
    [
      'message and image',
      () => formOf({ contacts: one, message: 'x' }, { bytes: png, name: 'a.png' }),
      400,
      'invalid_request',
    ],
    ['neither', () => formOf({ contacts: one }), 400, 'invalid_request'],
    ['no data', () => formOf(undefined, { bytes: png, name: 'a.png' }), 400, 'invalid_request'],
    ['data that is no JSON', () => formOf('{', { bytes: png, name: 'a.png' }), 400, 'malformed_json'],
  ] as const)('%s → refused, nothing stored', async (_, body, status, code) => {
    const before = await mediaFiles();
    const jobs = await jobCount();
    const answer = await api.postForm(body());
    expect(answer.status).toBe(status);
    expect(answer.body.code).toBe(code);
    expect(await mediaFiles()).toEqual(before);
    expect(await jobCount()).toBe(jobs);
  });

  it('a field twice, a file too many, a wrong field → 400', async () => {
    const twice = formOf({ contacts: one, message: 'x' });
    twice.append('data', '{}');
    const wrongField = formOf({ contacts: one });
    wrongField.set('picture', new Blob([png]), 'a.png');
    const two = formOf({ contacts: one }, { bytes: png, name: 'a.png' });
    two.append('image', new Blob([png]), 'b.png');
    for (const body of [twice, wrongField, two]) {
      expect(await api.postForm(body)).toMatchObject({ status: 400, body: { code: 'invalid_request' } });
    }
  });

  it('a multipart without an end → 400; a client that goes leaves nothing', async () => {
    const before = await mediaFiles();
    const part =
      '--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\ncontent-type: image/png\r\n\r\n';
    const head = (length: number) =>
      `POST /api/messages HTTP/1.1\r\nhost: x\r\nx-api-key: ${TEST_API_KEY}\r\n` +
      `content-type: multipart/form-data; boundary=b\r\ncontent-length: ${length}\r\nconnection: close\r\n\r\n`;
    const { port } = new URL(h.http.url);
    const talk = (text: string, hangUp: boolean) =>
      new Promise<string>((resolve) => {
        let answer = '';
        const socket = connect(Number(port), '127.0.0.1', () => {
          socket.write(text);
          if (hangUp) setTimeout(() => socket.destroy(), 50);
        });
        socket.on('data', (chunk) => {
          answer += chunk.toString();
        });
        socket.on('close', () => resolve(answer));
        socket.on('error', () => resolve(answer));
      });
    expect(await talk(`${head(part.length + 3) + part}abc`, false)).toMatch(
      /^HTTP\/1.1 400 .*malformed_multipart/s,
    );
    expect(await talk(`${head(100_000)}${part}abc`, true)).toBe('');
    expect(await talk(`${head(9).replace('; boundary=b', '')}something`, false)).toMatch(/^HTTP\/1.1 400 /);
    expect(await mediaFiles()).toEqual(before);
  });

  it.each(['..%2f..%2fetc%2fpasswd', '%2e%2e', '.hidden', 'nope.png', 'a%00b', '%5c..%5cx', 'x'.repeat(201)])(
    'a worker cannot fetch %s',
    async (ref) => {
      const response = await fetch(`${h.http.url}/api/worker/media/${ref}`, {
        headers: { 'x-webhook-secret': TEST_WEBHOOK_SECRET },
      });
      expect([400, 404]).toContain(response.status);
      expect((await response.json()) as object).toMatchObject({ status: 'error' });
    },
  );

  it('a worker needs its secret', async () => {
    expect((await fetch(`${h.http.url}/api/worker/media/x.png`)).status).toBe(401);
  });
});
