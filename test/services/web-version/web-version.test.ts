import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createRedis } from '../../../src/infra/redis/client.ts';
import { createVersionStore } from '../../../src/infra/redis/version-store.ts';
import { versionPage } from '../../../src/infra/whatsapp/version-page.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { WebVersion } from '../../../src/services/web-version/web-version.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

let server: TestRedis;
let redis: Redis;
let page: { status: number; body: string; hits: number };
const http = createServer((_req, res) => {
  page.hits += 1;
  res.writeHead(page.status).end(page.body);
});
let url: string;

beforeAll(async () => {
  server = await startRedis();
  redis = createRedis({ url: server.url, name: 'test', log: silentLogger });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/sw.js`;
});
afterAll(async () => {
  redis.disconnect();
  http.close();
  await server.stop();
});
beforeEach(async () => {
  await redis.flushall();
  page = { status: 200, body: 'x={"client_revision":1023456789,"a":1}', hits: 0 };
});

const service = (pinned: string | null = null) =>
  new WebVersion({
    pinned,
    source: versionPage(url),
    store: createVersionStore(redis),
    clock: systemClock,
    log: silentLogger,
  });

test('is fetched once for many callers and kept', async () => {
  const version = service();
  const answers = await Promise.all([version.current(), version.current(), version.current()]);
  expect(answers).toEqual(Array(3).fill('2.3000.1023456789'));
  await version.current();
  expect(page.hits).toBe(1);
});

test('a pinned version asks nobody', async () => {
  expect(await service('2.3000.1').current()).toBe('2.3000.1');
  expect(page.hits).toBe(0);
});

test.each([
  ['the page is refused', { status: 500, body: '' }],
  ['the page has changed', { status: 200, body: '<html>' }],
])('falls back to the last good one when %s', async (_name, broken) => {
  await service().current();
  page = { ...broken, hits: 0 };
  expect(await service().current()).toBe('2.3000.1023456789');
});

test('says null when none was ever seen', async () => {
  page = { status: 404, body: '', hits: 0 };
  expect(await service().current()).toBeNull();
});
