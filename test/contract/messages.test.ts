import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, errorFaults, type Flotilla, freshId, startFlotilla } from './flotilla.ts';

let flotilla: Flotilla;
beforeAll(async () => {
  flotilla = await startFlotilla();
});
afterAll(() => flotilla?.stop());

const DAVID = { name: 'David', phone: '972501234567' };
const two = [DAVID, { name: 'דנה', phone: '972501234568' }];
const post = (body: unknown, headers?: Record<string, string>): Promise<Answer> =>
  flotilla.api('POST', '/api/messages', body, headers);

// The smallest files that are what they say.
const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);
const JPEG = Buffer.from(
  '/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJDRENDg8QEBEQCgwSExIQEw8QEBD/yQALCAABAAEBAREA/8wABgAQEAX/2gAIAQEAAD8A0s8g/9k=',
  'base64',
);
const WEBP = Buffer.from('UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==', 'base64');

function withImage(data: unknown, image?: Uint8Array, type = 'image/jpeg', name = 'picture.jpg'): FormData {
  const form = new FormData();
  if (data !== undefined) form.append('data', typeof data === 'string' ? data : JSON.stringify(data));
  if (image) form.append('image', new Blob([image as Uint8Array<ArrayBuffer>], { type }), name);
  return form;
}
const media = async (): Promise<string[]> => {
  try {
    return await readdir(join(flotilla.dataDir, 'media'));
  } catch {
    return [];
  }
};

describe('a message', () => {
  it('is taken as JSON, answered at once, and can be asked for', async () => {
    const answer = await post({ contacts: two, message: 'שלום {{name}}' });
    expect([answer.status, answer.body]).toEqual([
      200,
      expect.objectContaining({ status: 'ok', received: 2, hasImage: false, jobId: expect.any(String) }),
    ]);
    const job = await flotilla.api('GET', `/api/messages/${answer.body.jobId}`);
    expect(job.body).toMatchObject({ status: 'ok', job: { id: answer.body.jobId, received: 2 } });
  });

  it('is taken as multipart without an image', async () => {
    const { status, body } = await post(withImage({ contacts: two, message: 'hello' }));
    expect([status, body.received, body.hasImage]).toEqual([200, 2, false]);
  });

  it.each([
    ['png', PNG],
    ['jpeg', JPEG],
    ['webp', WEBP],
  ])('is taken with a %s, whatever it is called', async (_type, image) => {
    const { status, body } = await post(
      withImage({ contacts: two }, image, 'application/octet-stream', 'x.bin'),
    );
    expect([status, body]).toEqual([200, expect.objectContaining({ received: 2, hasImage: true })]);
  });
});

describe('images', () => {
  it('are 415 if they are not what they are called, and are not kept', async () => {
    const before = (await media()).length;
    const svg = '<svg xmlns="http://www.w3.org/2000/svg"></svg>';
    for (const content of ['just a text', svg, 'GIF89a\x01\x00\x01\x00\x00\x00\x00;', '%PDF-1.7\n']) {
      const answer = await post(withImage({ contacts: two }, Buffer.from(content)));
      expect([content, errorFaults(answer, 415)]).toEqual([content, []]);
    }
    expect((await media()).length).toBe(before);
  });

  it('are 413 above 10 MB, and are not kept', async () => {
    const before = (await media()).length;
    const answer = await post(
      withImage({ contacts: two }, Buffer.concat([JPEG, randomBytes(20 * 1024 * 1024)])),
    );
    expect(errorFaults(answer, 413)).toEqual([]);
    expect((await media()).length).toBe(before);
    const fits = Buffer.concat([PNG, Buffer.alloc(10 * 1024 * 1024 - PNG.length)]);
    expect((await post(withImage({ contacts: two }, fits))).status).toBe(200);
  });

  it('are refused when empty, when there are two, and in another field', async () => {
    const double = withImage({ contacts: two }, PNG);
    double.append('image', new Blob([PNG]), 'b.png');
    const other = withImage({ contacts: two, message: 'x' });
    other.append('picture', new Blob([PNG]), 'b.png');
    expect(errorFaults(await post(withImage({ contacts: two }, Buffer.alloc(0))), 415)).toEqual([]);
    expect(errorFaults(await post(double), 400)).toEqual([]);
    expect(errorFaults(await post(other), 400)).toEqual([]);
  });
});

describe('bad input is 400, naming the field', () => {
  const many = (n: number) =>
    Array.from({ length: n }, (_, i) => ({ name: `n${i}`, phone: String(972500000000 + i) }));

  it.each<[string, unknown, string]>([
    ['no contacts', { message: 'x' }, 'contacts'],
    ['contacts null', { contacts: null, message: 'x' }, 'contacts'],
    ['contacts an object', { contacts: {}, message: 'x' }, 'contacts'],
    ['empty contacts', { contacts: [], message: 'x' }, 'contacts'],
    ['a contact that is text', { contacts: ['972501234567'], message: 'x' }, 'contacts[0]'],
    [
      'letters in the phone',
      { contacts: [DAVID, { name: 'a', phone: '97250abc567' }], message: 'x' },
      'contacts[1].phone',
    ],
    ['a short phone', { contacts: [{ name: 'a', phone: '1234567' }], message: 'x' }, 'phone'],
    ['a long phone', { contacts: [{ name: 'a', phone: '1'.repeat(16) }], message: 'x' }, 'phone'],
    ['a plus', { contacts: [{ name: 'a', phone: '+972501234567' }], message: 'x' }, 'phone'],
    ['a number as phone', { contacts: [{ name: 'a', phone: 972501234567 }], message: 'x' }, 'phone'],
    ['digits of another script', { contacts: [{ name: 'a', phone: '٩٧٢٥٠١٢٣٤٥٦٧' }], message: 'x' }, 'phone'],
    ['no phone', { contacts: [{ name: 'a' }], message: 'x' }, 'phone'],
    ['no name', { contacts: [{ phone: DAVID.phone }], message: 'x' }, 'name'],
    ['an empty name', { contacts: [{ name: '', phone: DAVID.phone }], message: 'x' }, 'name'],
    ['a blank name', { contacts: [{ name: '  ', phone: DAVID.phone }], message: 'x' }, 'name'],
    ['neither message nor image', { contacts: two }, 'message'],
    ['an empty message', { contacts: two, message: '' }, 'message'],
    ['a message that is a number', { contacts: two, message: 5 }, 'message'],
    ['a bad notBefore', { contacts: two, message: 'x', notBefore: 'tomorrow' }, 'notBefore'],
    ['a bad expiresAt', { contacts: two, message: 'x', expiresAt: 5 }, 'expiresAt'],
    ['a jobId with a slash', { contacts: two, message: 'x', jobId: '../etc' }, 'jobId'],
    ['a jobId that is a number', { contacts: two, message: 'x', jobId: 7 }, 'jobId'],
    ['100,001 contacts', { contacts: many(100_001), message: 'x' }, 'contacts'],
  ])('%s', async (_name, body, field) => {
    const answer = await post(body);
    expect(errorFaults(answer, 400)).toEqual([]);
    expect(answer.body.reason).toContain(field);
    if (JSON.stringify(body).length < 10_000) {
      const multipart = await post(withImage(body));
      expect([multipart.status, multipart.body.reason]).toEqual([400, expect.stringContaining(field)]);
    }
  });

  it('message and image together, no data, data that is no JSON', async () => {
    const both = await post(withImage({ contacts: two, message: 'x' }, PNG));
    expect(errorFaults(both, 400)).toEqual([]);
    expect(both.body.reason).toMatch(/message.*image|image.*message/);
    for (const data of [undefined, '{bad', '5', '']) {
      const answer = await post(withImage(data, PNG));
      expect([data, errorFaults(answer, 400)]).toEqual([data, []]);
      expect(answer.body.reason).toContain('data');
    }
  });
});

describe('idempotency', () => {
  it('answers the same jobId with the same job, and another body with 409', async () => {
    const jobId = freshId('job');
    const body = { contacts: two, message: 'once', jobId };
    const first = await post(body);
    expect([first.status, first.body.jobId]).toEqual([200, jobId]);
    const again = await post(body);
    expect([again.status, again.body.jobId, again.body.received]).toEqual([200, jobId, 2]);
    expect(errorFaults(await post({ ...body, message: 'other' }), 409)).toEqual([]);
    const { job } = (await flotilla.api('GET', `/api/messages/${jobId}`)).body;
    expect(job.received).toBe(2);
  });

  it('does the same for the header Idempotency-Key, also with images', async () => {
    const key = { 'idempotency-key': freshId('key') };
    const first = await post(withImage({ contacts: two }, PNG), key);
    const again = await post(withImage({ contacts: two }, PNG), key);
    expect([first.status, again.status, again.body.jobId]).toEqual([200, 200, first.body.jobId]);
    expect(errorFaults(await post(withImage({ contacts: two }, JPEG), key), 409)).toEqual([]);
    expect(errorFaults(await post({ contacts: two, message: 'x' }, key), 409)).toEqual([]);
  });

  it('makes one job of 12 that come at once', async () => {
    const key = { 'idempotency-key': freshId('key') };
    const body = { contacts: two, message: 'at once' };
    const answers = await Promise.all(Array.from({ length: 12 }, () => post(body, key)));
    expect(answers.map((answer) => answer.status)).toEqual(Array(12).fill(200));
    expect(new Set(answers.map((answer) => answer.body.jobId)).size).toBe(1);
  });

  it('refuses an absurd key', async () => {
    const answer = await post({ contacts: two, message: 'x' }, { 'idempotency-key': 'k'.repeat(5_000) });
    expect(errorFaults(answer, 400)).toEqual([]);
    expect(answer.body.reason).toMatch(/Idempotency-Key/i);
  });
});

describe('100,000 contacts', () => {
  it('are taken in one request', async () => {
    const contacts = Array.from({ length: 100_000 }, (_, i) => ({
      name: `n${i}`,
      phone: String(972600000000 + i),
    }));
    const { status, body } = await post({ contacts, message: 'Hello {{name}}' });
    expect([status, body.received]).toEqual([200, 100_000]);
    const { job } = (await flotilla.api('GET', `/api/messages/${body.jobId}`)).body;
    expect(Object.values<number>(job.totals).reduce((sum, n) => sum + n)).toBe(100_000);
    await flotilla.api('POST', `/api/messages/${body.jobId}/cancel`);
  });
});
