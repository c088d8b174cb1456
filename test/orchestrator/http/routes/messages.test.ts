import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiOf, contactsOf } from '../../../services/intake/api.ts';
import { type Harness, startHarness, until } from '../../../services/intake/harness.ts';

let h: Harness;
let api: ReturnType<typeof apiOf>;
beforeAll(async () => {
  h = await startHarness();
  api = apiOf(h.http.url);
});
afterAll(() => h.stop());

const one = [{ name: 'David', phone: '972501234567' }];
const jobCount = async (): Promise<number> => {
  const row = await h.database.db
    .selectFrom('jobs')
    .select((e) => e.fn.countAll<number>().as('n'))
    .executeTakeFirst();
  return Number(row?.n);
};

describe('bad input', () => {
  it.each([
    ['no contacts', { message: 'x' }, 'contacts is missing'],
    ['contacts that are no list', { contacts: {}, message: 'x' }, 'contacts must be a list of {name, phone}'],
    ['empty contacts', { contacts: [], message: 'x' }, 'contacts must not be empty'],
    [
      'a contact that is null',
      { contacts: [null], message: 'x' },
      'contacts[0] must be an object with name and phone',
    ],
    [
      'letters in a phone',
      { contacts: [...one, { name: 'A', phone: '97250x' }], message: 'x' },
      'contacts[1].phone must be 8 to 15 digits',
    ],
    [
      'a phone with a plus',
      { contacts: [{ name: 'A', phone: '+972501234567' }], message: 'x' },
      'contacts[0].phone must be 8 to 15 digits',
    ],
    [
      'a phone as a number',
      { contacts: [{ name: 'A', phone: 972501234567 }], message: 'x' },
      'contacts[0].phone must be 8 to 15 digits',
    ],
    [
      'seven digits',
      { contacts: [{ name: 'A', phone: '1234567' }], message: 'x' },
      'contacts[0].phone must be 8 to 15 digits',
    ],
    [
      'sixteen digits',
      { contacts: [{ name: 'A', phone: '1234567890123456' }], message: 'x' },
      'contacts[0].phone must be 8 to 15 digits',
    ],
    [
      'a phone with a line end',
      { contacts: [{ name: 'A', phone: '12345678\n' }], message: 'x' },
      'contacts[0].phone must be 8 to 15 digits',
    ],
    [
      'no name',
      { contacts: [{ phone: '972501234567' }], message: 'x' },
      'contacts[0].name must be text that is not empty',
    ],
    [
      'an empty name',
      { contacts: [{ name: ' ', phone: '972501234567' }], message: 'x' },
      'contacts[0].name must be text that is not empty',
    ],
    [
      'a long name',
      { contacts: [{ name: 'x'.repeat(201), phone: '972501234567' }], message: 'x' },
      'contacts[0].name must have at most 200 characters',
    ],
    ['neither message nor image', { contacts: one }, 'message is missing, and there is no image either.'],
    ['an empty message', { contacts: one, message: '  ' }, 'message must not be empty'],
    ['a message that is no text', { contacts: one, message: 5 }, 'message must be text'],
    [
      'a long message',
      { contacts: one, message: 'x'.repeat(65_537) },
      'message must have at most 65536 characters',
    ],
    [
      'a message that names make too long',
      { contacts: [{ name: 'x'.repeat(200), phone: '12345678' }], message: '{{name}}'.repeat(1000) },
      'contacts[0].name makes the message longer than 65536 characters',
    ],
    ['a NUL', { contacts: one, message: 'a\0b' }, 'message must not contain NUL characters'],
    ['a job id that is none', { contacts: one, message: 'x', jobId: '../x' }, /^jobId must be of letters/],
    [
      'a time that is none',
      { contacts: one, message: 'x', notBefore: 'tomorrow' },
      /^notBefore must be an ISO 8601 time/,
    ],
    [
      'a past expiry',
      { contacts: one, message: 'x', expiresAt: '2020-01-01T00:00:00Z' },
      'expiresAt must be in the future',
    ],
    [
      'an expiry before the start',
      { contacts: one, message: 'x', notBefore: '2090-01-02T00:00:00Z', expiresAt: '2090-01-01T00:00:00Z' },
      'expiresAt must be after notBefore',
    ],
    ['a list', [], 'The request must be a JSON object.'],
    ['null', null, 'The request must be a JSON object.'],
  ])('%s → 400 that names the field', async (_, body, reason) => {
    const before = await jobCount();
    const answer = await api.post('/api/messages', JSON.stringify(body));
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ status: 'error', code: 'invalid_request' });
    if (typeof reason === 'string') expect(answer.body.reason).toBe(reason);
    else expect(answer.body.reason).toMatch(reason);
    expect(await jobCount()).toBe(before);
  });

  it('100,001 contacts → too_many_contacts', async () => {
    const answer = await api.post('/api/messages', { contacts: contactsOf(100_001), message: 'x' });
    expect(answer).toMatchObject({ status: 400, body: { code: 'too_many_contacts' } });
  });

  it('broken JSON → malformed_json', async () => {
    expect(await api.post('/api/messages', '{"contacts":[')).toMatchObject({
      status: 400,
      body: { code: 'malformed_json' },
    });
  });

  it('a body over the limit → 413', async () => {
    const answer = await api
      .post(
        '/api/messages',
        JSON.stringify({ contacts: one, message: 'x', junk: 'x'.repeat(33 * 1024 * 1024) }),
      )
      .catch(() => null);
    // The server may hang up before the client has written everything.
    if (answer) expect(answer).toMatchObject({ status: 413, body: { code: 'body_too_large' } });
  });

  it('another content type → 415', async () => {
    expect(await api.post('/api/messages', 'contacts=1', { 'content-type': 'text/plain' })).toMatchObject({
      status: 415,
      body: { code: 'unsupported_content_type' },
    });
  });

  it('a missing or wrong key → 401', async () => {
    const post = (key: string | null) =>
      fetch(`${h.http.url}/api/messages`, {
        method: 'POST',
        headers: key === null ? {} : { 'x-api-key': key },
      });
    expect((await post(null)).status).toBe(401);
    expect((await post('wrong')).status).toBe(401);
  });

  it('an unknown session → 404, also one of another tenant', async () => {
    expect(
      await api.post('/api/messages', { contacts: one, message: 'x', sessionId: 's_nope' }),
    ).toMatchObject({
      status: 404,
      body: { code: 'session_not_found' },
    });
    await h.addSession('s_a', { tenant: 'a', state: 'pairing' });
    expect(
      await api.post('/api/messages', { contacts: one, message: 'x', sessionId: 's_a', tenant: 'b' }),
    ).toMatchObject({ status: 404, body: { code: 'session_not_found' } });
  });

  it('unknown jobs and tasks → 404; queries that make no sense → 400', async () => {
    expect(await api.get('/api/messages/nope')).toMatchObject({
      status: 404,
      body: { code: 'job_not_found' },
    });
    expect(await api.get('/api/messages/nope/tasks')).toMatchObject({
      status: 404,
      body: { code: 'job_not_found' },
    });
    expect(await api.post('/api/messages/nope/pause')).toMatchObject({
      status: 404,
      body: { code: 'job_not_found' },
    });
    expect(await api.get('/api/tasks/nope')).toMatchObject({ status: 404, body: { code: 'task_not_found' } });
    for (const query of ['limit=0', 'limit=abc', 'limit=1e9', 'state=nope', 'cursor=%27%3B--']) {
      expect((await api.get(`/api/messages?${query}`)).status, query).toBe(400);
      expect((await api.get(`/api/messages/nope/tasks?${query}`)).status, query).toBe(400);
    }
  });
});

describe('repeating a request', () => {
  it('answers with the same job, by jobId or by header; another body is a conflict', async () => {
    const body = { contacts: one, message: 'once' };
    const first = await api.post('/api/messages', body, { 'idempotency-key': 'key/1' });
    const again = await api.post(
      '/api/messages',
      { message: 'once', contacts: one },
      { 'idempotency-key': 'key/1' },
    );
    expect(again).toEqual(first);
    expect(first.body.jobId).toMatch(/^job_/);
    const named = await api.post('/api/messages', { ...body, jobId: 'named' });
    expect(named.body.jobId).toBe('named');
    expect(await api.post('/api/messages', body, { 'idempotency-key': 'named' })).toEqual(named);
    expect(
      await api.post('/api/messages', { ...body, jobId: 'named' }, { 'idempotency-key': 'named' }),
    ).toEqual(named);
    expect(await api.post('/api/messages', { ...body, message: 'other', jobId: 'named' })).toMatchObject({
      status: 409,
      body: { code: 'idempotency_key_reused' },
    });
    expect(
      await api.post('/api/messages', { ...body, jobId: 'a' }, { 'idempotency-key': 'b' }),
    ).toMatchObject({
      status: 400,
    });
    expect((await api.post('/api/messages', body, { 'idempotency-key': 'has space' })).status).toBe(400);
  });

  it('still answers after the job has expired', async () => {
    const body = {
      contacts: one,
      message: 'soon',
      jobId: 'soon',
      expiresAt: new Date(Date.now() + 300).toISOString(),
    };
    const first = await api.post('/api/messages', body);
    expect(first.status).toBe(200);
    await until(
      async () => Date.now(),
      (now) => now > Date.parse(body.expiresAt) + 20,
    );
    expect(await api.post('/api/messages', body)).toEqual(first);
  });

  it('makes one job of many at once', async () => {
    const before = await jobCount();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        api.post('/api/messages', { contacts: contactsOf(50), message: 'x' }, { 'idempotency-key': 'race' }),
      ),
    );
    expect(new Set(answers.map(({ body }) => body.jobId)).size).toBe(1);
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    expect(await jobCount()).toBe(before + 1);
  });
});

it('lists jobs newest first, page by page, and by state', async () => {
  const seen: string[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const { body } = await api.get(`/api/messages?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`);
    const jobs = body.jobs as { id: string; createdAt: string }[];
    seen.push(...jobs.map(({ id }) => id));
    cursor = body.nextCursor as string | null;
  }
  expect(seen).toHaveLength(await jobCount());
  expect(new Set(seen).size).toBe(seen.length);
  const { body } = await api.get('/api/messages?state=done');
  expect((body.jobs as { state: string }[]).every(({ state }) => state === 'done')).toBe(true);
});

it('takes 100,000 contacts in one request, exactly', async () => {
  const answer = await api.post('/api/messages', {
    contacts: contactsOf(100_000),
    message: 'Hi {{name}}',
    tenant: 'none',
  });
  expect(answer).toMatchObject({ status: 200, body: { received: 100_000 } });
  expect(await api.job(answer.body.jobId as string)).toMatchObject({
    received: 100_000,
    totals: { queued: 100_000 },
  });
});
