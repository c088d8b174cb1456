import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type Answer,
  API_KEY,
  errorFaults,
  eventually,
  type Flotilla,
  fileForm,
  startFlotilla,
} from './flotilla.ts';

let flotilla: Flotilla;
beforeAll(async () => {
  flotilla = await startFlotilla({ UPLOAD_MAX_BYTES: String(16 * 1024 * 1024) });
});
afterAll(() => flotilla?.stop());
beforeEach(async () => {
  await flotilla.redis.del(
    'profiles:available',
    'profiles:used',
    'proxies:all',
    'proxies:available',
    'proxies:bad',
  );
});

const upload = (kind: 'profiles' | 'proxies', content: string | Uint8Array): Promise<Answer> =>
  flotilla.api('POST', `/upload/${kind}`, fileForm(content));
const members = async (key: string): Promise<string[]> => (await flotilla.redis.smembers(key)).sort();

describe('POST /upload/profiles', () => {
  it('counts what is new, and keeps each line byte for byte', async () => {
    const json = '{"id":"p-3", "phone":"972501234567","name":"דוד", "tenant":"acme"}';
    const first = await upload('profiles', `profile-1\nprofile-2\n${json}\n`);
    expect([first.status, first.body]).toEqual([200, expect.objectContaining({ status: 'ok', added: 3 })]);
    expect(await members('profiles:available')).toEqual([json, 'profile-1', 'profile-2'].sort());
    const again = await upload('profiles', 'profile-2\nprofile-4\nprofile-4\n');
    expect(again.body).toMatchObject({ status: 'ok', added: 1, duplicates: 2 });
    expect((await upload('profiles', 'profile-5')).body.added).toBe(1); // no line end at the end
  });

  it('does not add again what is in use', async () => {
    await flotilla.redis.sadd('profiles:used', 'busy');
    expect((await upload('profiles', 'busy\nfree\n')).body).toMatchObject({ added: 1, duplicates: 1 });
    expect(await members('profiles:available')).toEqual(['free']);
  });

  it('reads CRLF, a BOM, blank lines and comments', async () => {
    const { body } = await upload('profiles', '\uFEFFone\r\n\r\n# a comment\r\n   \r\ntwo\r\n#three\r\n');
    expect(body).toMatchObject({ status: 'ok', added: 2 });
    expect(await members('profiles:available')).toEqual(['one', 'two']);
  });

  it('reports bad lines with their number, and adds the others', async () => {
    const lines = ['good', '{"id": broken', '{"phone":"12ab"}', '', '# c', '{"browser":"Chrome"}', 'fine'];
    const { body } = await upload('profiles', lines.join('\n'));
    expect(body.added).toBe(2);
    expect(body.rejected.map((bad: { line: number }) => bad.line)).toEqual([2, 3, 6]);
    for (const bad of body.rejected) expect(bad.reason).toBeTypeOf('string');
    const endless = await upload('profiles', `${'x'.repeat(2_000_000)}\nshort`);
    expect(endless.body).toMatchObject({ added: 1, rejected: [{ line: 1 }] });
    const many = await upload('profiles', Array.from({ length: 150 }, (_, i) => `{bad ${i}`).join('\n'));
    expect([many.status, many.body.added, many.body.rejected.length]).toEqual([200, 0, 100]);
  });

  it('takes 200,000 lines with exact counts', async () => {
    const lines = Array.from({ length: 200_000 }, (_, i) => `bulk-${i % 150_000}`).join('\n');
    const { body } = await upload('profiles', lines);
    expect(body).toMatchObject({ added: 150_000, duplicates: 50_000 });
    expect(await flotilla.redis.scard('profiles:available')).toBe(150_000);
  });
});

describe('POST /upload/proxies', () => {
  it('takes every spelling of the contract, and keeps the bytes', async () => {
    const good = [
      'http://user:pass@10.0.0.1:8080',
      'https://user:p%40ss@proxy.example.com:443',
      'socks4://10.0.0.2:1080',
      'socks5://u:p@10.0.0.3:1080',
      'socks5h://u:p@proxy.example.org:1080',
      '10.0.0.4:3128',
      '10.0.0.5:3128:name:secret',
    ];
    const { body } = await upload('proxies', good.join('\n'));
    expect(body).toMatchObject({ status: 'ok', added: good.length });
    expect(await members('proxies:all')).toEqual([...good].sort());
    expect(await members('proxies:available')).toEqual([...good].sort());
  });

  it('rejects what is no proxy', async () => {
    const bad = [
      'ftp://h:1',
      'http://h',
      'h:99999',
      'h:0',
      'just text',
      'http://:80',
      'a:b:c',
      'socks5://h:port',
    ];
    const { body } = await upload('proxies', ['10.1.0.1:80', ...bad].join('\n'));
    expect(body.added).toBe(1);
    expect(body.rejected.map((r: { line: number }) => r.line)).toEqual(bad.map((_, i) => i + 2));
    expect(JSON.stringify(body)).not.toContain('secret');
  });

  it('does not show a password in the reason of a rejected line', async () => {
    const { text } = await upload(
      'proxies',
      'http://user:hush-hush@host:99999\nhost:badport:user:hush-hush\n',
    );
    expect(text).not.toContain('hush-hush');
  });
});

describe('uploads that are refused', () => {
  const nothingAdded = async (): Promise<void> =>
    expect([
      await flotilla.redis.scard('profiles:available'),
      await flotilla.redis.scard('proxies:all'),
    ]).toEqual([0, 0]);

  it.each([
    ['an empty file', ''],
    ['only comments and blanks', '# nothing\n\n   \r\n'],
    ['binary', new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 3, 0, 0xff, 0xfe, 10, 65, 66, 67])],
    ['broken UTF-8', new Uint8Array([0x70, 0xff, 0xc3, 0x28, 10, 0x71, 10])],
  ])('%s with 400', async (_name, content) => {
    expect(errorFaults(await upload('profiles', content), 400)).toEqual([]);
    expect(errorFaults(await upload('proxies', content), 400)).toEqual([]);
    await nothingAdded();
  });

  it('another field name, no file, two files, a broken multipart and no multipart', async () => {
    const two = fileForm('a\n');
    two.append('file', new Blob(['b\n']), 'b.txt');
    const text = new FormData();
    text.append('file', 'just text');
    const cases: [string, unknown, Record<string, string>, number][] = [
      ['wrong field', fileForm('a\n', 'profiles'), {}, 400],
      ['no part', new FormData(), {}, 400],
      ['two files', two, {}, 400],
      ['broken', '--b\r\nContent-Dispo', { 'content-type': 'multipart/form-data; boundary=b' }, 400],
      ['no boundary', 'x', { 'content-type': 'multipart/form-data' }, 400],
      ['empty body', '', { 'content-type': 'multipart/form-data; boundary=b' }, 400],
      ['json', { file: 'a' }, {}, 415],
      ['plain', 'a\nb\n', { 'content-type': 'text/plain' }, 415],
    ];
    for (const [name, body, headers, status] of cases) {
      const answer = await flotilla.api('POST', '/upload/profiles', body, headers);
      expect([name, errorFaults(answer, status)]).toEqual([name, []]);
    }
    const wrongField = await flotilla.api('POST', '/upload/profiles', fileForm('a\n', 'profiles'));
    expect(wrongField.body.reason).toMatch(/file/);
    await nothingAdded();
  });

  it('one that breaks off adds nothing', async () => {
    const start = multipartStart();
    for (const cut of ['a\nb\nc\n', `${'line of a profile\n'.repeat(200_000)}half a li`]) {
      await new Promise<void>((resolve) => {
        const req = openUpload(start.length + cut.length + 1_000);
        req.on('error', () => resolve());
        req.write(start + cut, () => setTimeout(() => req.destroy(new Error('cut')), 150));
      });
    }
    await sleep(300);
    await nothingAdded();
    expect((await upload('profiles', 'after\n')).body.added).toBe(1);
  });

  it('one of 1 GB with 413, long before its end, keeping nothing', async () => {
    for (const length of [1024 ** 3, undefined]) {
      const { status, sent, text } = await pour(length);
      expect([length, status, JSON.parse(text).status]).toEqual([length, 413, 'error']);
      expect(sent).toBeLessThan(128 * 1024 * 1024);
    }
    await eventually('nothing being kept', async () => (await flotilla.redis.keys('*upload*')).length === 0);
    await nothingAdded();
  });
});

const multipartStart = (): string =>
  '--cut\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\nContent-Type: text/plain\r\n\r\n';

function openUpload(length: number | undefined): http.ClientRequest {
  return http.request(`${flotilla.url}/upload/profiles`, {
    method: 'POST',
    agent: false,
    headers: {
      'x-api-key': API_KEY,
      'content-type': 'multipart/form-data; boundary=cut',
      ...(length === undefined ? {} : { 'content-length': length }),
    },
  });
}

/** Sends up to 1 GB of lines, and stops when an answer comes. */
function pour(length: number | undefined): Promise<{ status: number; sent: number; text: string }> {
  const chunk = Buffer.from(`${'y'.repeat(63)}\n`.repeat(1024));
  return new Promise((resolve, reject) => {
    const req = openUpload(length);
    let sent = 0;
    let done = false;
    req.on('response', (res) => {
      done = true;
      let text = '';
      res.on('data', (part: Buffer) => {
        text += part.toString();
      });
      res.on('end', () => {
        resolve({ status: res.statusCode ?? 0, sent, text });
        req.destroy();
      });
    });
    req.on('error', (error) => done || reject(error));
    req.write(multipartStart());
    const pump = (): void => {
      while (!done && sent < 1024 ** 3) {
        sent += chunk.length;
        if (!req.write(chunk)) {
          req.once('drain', pump);
          return;
        }
      }
      if (!done) req.end();
    };
    pump();
  });
}
