import type { AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { z } from 'zod';
import type { Logger } from '../../../src/kernel/log.ts';
import { createApp } from '../../../src/orchestrator/http/app.ts';
import { createAuthenticator } from '../../../src/orchestrator/http/auth.ts';
import { createHttpServer } from '../../../src/orchestrator/http/server.ts';
import { asManager, asWorker, TEST_API_KEY, TEST_WEBHOOK_SECRET } from '../../helpers/http.ts';

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

/** One hot route, one of a worker that is not, one of people, and a probe; what is logged, and how to ask. */
async function start(logOneIn?: number) {
  const lines: Record<string, unknown>[] = [];
  const quiet = () => undefined;
  const log: Logger = {
    debug: quiet,
    info: (fields, message) => void lines.push({ ...fields, message }),
    warn: quiet,
    error: quiet,
    child: () => log,
  };
  const route = { tag: 'test', summary: 'Answers', body: z.looseObject({}) };
  const app = createApp({
    modules: [
      (routes) => {
        const worker = '/api/worker/sessions/{id}';
        routes.add(
          { ...route, method: 'post', path: `${worker}/outbox/ack`, audience: 'worker', hot: true },
          () => ({}),
        );
        routes.add({ ...route, method: 'post', path: `${worker}/events`, audience: 'worker' }, () => ({}));
        routes.add(
          { ...route, method: 'post', path: '/api/sessions/{id}/stop', audience: 'management' },
          () => ({}),
        );
        routes.add(
          { method: 'get', path: '/health', tag: 't', summary: 's', audience: 'public' },
          () => ({}),
        );
      },
    ],
    auth: createAuthenticator({
      apiKey: TEST_API_KEY,
      webhookSecret: TEST_WEBHOOK_SECRET,
      verifyToken: () => null,
      onFailure: quiet,
    }),
    log,
    version: '0.0.0',
    ...(logOneIn === undefined ? {} : { logOneIn }),
  });
  const server = createHttpServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(() => server.close().closeAllConnections());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const ask = async (path: string, headers: Record<string, string>) => {
    const answer = await fetch(url + path, { method: 'POST', headers, body: '{}' });
    return answer.headers.get('x-request-id');
  };
  return { lines, url, ask };
}

test('of what is called for every message one in so many is logged, by either path', async () => {
  const { lines, ask } = await start(3);
  const ids: (string | null)[] = [];
  for (let n = 0; n < 4; n++) ids.push(await ask('/api/worker/sessions/s1/outbox/ack', asWorker));
  // Express serves what is spelt in another way, and what is of workers and not hot.
  await vi.waitFor(() => expect(lines).toHaveLength(2));
  for (let n = 0; n < 2; n++) ids.push(await ask('/api/worker/sessions/%731/outbox/ack', asWorker));
  ids.push(await ask('/api/worker/sessions/s1/events', asWorker));
  await vi.waitFor(() => expect(lines).toHaveLength(3));
  expect(lines.map(({ requestId }) => requestId)).toEqual([ids[0], ids[3], ids[6]]);
  expect(lines[0]).toEqual({
    requestId: ids[0],
    method: 'POST',
    route: '/api/worker/sessions/:id/outbox/ack',
    status: 200,
    ms: expect.any(Number),
    oneIn: 3,
    message: 'answered',
  });
});

test('of people each is logged, also what is refused, by its pattern; a probe is not', async () => {
  const { lines, url, ask } = await start(1000);
  await fetch(`${url}/health`);
  const id = await ask('/api/sessions/972501234567/stop', asManager);
  await ask('/api/sessions/972501234567/stop', {});
  await vi.waitFor(() => expect(lines).toHaveLength(2));
  expect(lines.map(({ route, status }) => [route, status])).toEqual([
    ['/api/sessions/:id/stop', 200],
    ['/api/sessions/:id/stop', 401],
  ]);
  expect(lines[0]?.requestId).toBe(id);
  expect(JSON.stringify(lines)).not.toContain('972501234567');
});

test('0 logs none', async () => {
  const { lines, ask } = await start(0);
  await ask('/api/worker/sessions/s1/outbox/ack', asWorker);
  await ask('/api/sessions/s1/stop', asManager);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(lines).toEqual([]);
});
