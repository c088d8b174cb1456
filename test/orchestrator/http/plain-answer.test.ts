import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { startTestServer, TEST_API_KEY, type TestServer } from '../../helpers/http.ts';

const PATH = '/api/sessions/s1/outbox/echo';
let server: TestServer;
beforeAll(async () => {
  server = await startTestServer([
    (routes) =>
      routes.add(
        {
          method: 'post',
          path: '/api/sessions/{id}/outbox/echo',
          tag: 'test',
          summary: 'Answers with what it gets',
          audience: 'management',
          body: z.looseObject({}),
          hot: true,
        },
        ({ body }) => body,
      ),
  ]);
});
afterAll(() => server?.stop());

/** Sends bytes on a connection of its own, and reads until so many answers have come or the server closes. */
async function exchange(text: string, answers: number): Promise<{ text: string; closed: boolean }> {
  const { hostname, port } = new URL(server.url);
  const socket: Socket = connect(Number(port), hostname);
  let read = '';
  let closed = false;
  await new Promise<void>((resolve, reject) => {
    socket.on('data', (chunk) => {
      read += chunk.toString('utf8');
      if (read.split('HTTP/1.1 ').length - 1 === answers && read.endsWith('}')) setTimeout(resolve, 50);
    });
    socket.on('close', () => {
      closed = true;
      resolve();
    });
    socket.on('error', reject);
    socket.write(text);
  });
  socket.destroy();
  return { text: read, closed };
}

const request = (body: string, headers: string[] = [], version = '1.1'): string =>
  [
    `POST ${PATH} HTTP/${version}`,
    'Host: x',
    `X-API-KEY: ${TEST_API_KEY}`,
    'X-Request-ID: mine',
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...headers,
    '',
    body,
  ].join('\r\n');

const headOf = (text: string): string[] => text.slice(0, text.indexOf('\r\n\r\n')).split('\r\n');
const withoutDate = (head: string[]): string[] =>
  head.map((line) => (line.startsWith('Date: ') ? 'Date' : line.toLowerCase())).toSorted();

test('an answer beside Express has the status line and the headers that Express gives', async () => {
  const hot = await exchange(request('{"a":"é"}'), 1);
  // Not plain JSON to the hot routes, and JSON to Express.
  const cold = await exchange(
    request('{"a":"é"}').replace('application/json', 'application/json; charset=UTF-8; x=y'),
    1,
  );
  expect(withoutDate(headOf(hot.text))).toEqual(withoutDate(headOf(cold.text)));
  expect(hot.text.split('\r\n\r\n')[1]).toBe('{"a":"é"}');
  expect(hot.closed).toBe(false);
  const date = headOf(hot.text).find((line) => line.startsWith('Date: ')) ?? '';
  expect(Math.abs(Date.parse(date.slice(6)) - Date.now())).toBeLessThan(5000);
});

test('one connection carries many, also those that were sent before the first was answered', async () => {
  const { text, closed } = await exchange(request('{"n":1}') + request('{"n":2}') + request('{"n":3}'), 3);
  expect([...text.matchAll(/\{"n":(\d)\}/g)].map(([, n]) => n)).toEqual(['1', '2', '3']);
  expect(closed).toBe(false);
});

test('who asks for the connection to be closed is told so, and it is', async () => {
  const { text, closed } = await exchange(request('{"n":1}', ['Connection: close']), 1);
  expect(headOf(text)).toContain('Connection: close');
  expect(text).toContain('{"n":1}');
  expect(closed).toBe(true);
});

test('HTTP 1.0 is answered, and the connection closed', async () => {
  const { text, closed } = await exchange(request('{"n":1}', [], '1.0'), 1);
  expect(text).toContain('{"n":1}');
  expect(closed).toBe(true);
});

test('who waits for 100 Continue gets it, and then the answer', async () => {
  const { text } = await exchange(request('{"n":1}', ['Expect: 100-continue']), 2);
  expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
  expect(text.endsWith('{"n":1}')).toBe(true);
});
