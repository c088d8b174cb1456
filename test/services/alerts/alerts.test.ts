import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { RedisAlertStore } from '../../../src/infra/redis/alerts-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { type Logger, silentLogger } from '../../../src/kernel/log.ts';
import { Alerts } from '../../../src/services/alerts/alerts.ts';
import type { AlertNotice } from '../../../src/services/alerts/ports.ts';
import { AlertWebhook } from '../../../src/services/alerts/webhook.ts';
import { startRedis, type TestRedis } from '../../helpers/redis.ts';

let server: TestRedis;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

let told: string[];
beforeEach(async () => {
  await redis.flushall();
  told = [];
});

const log: Logger = {
  ...silentLogger,
  error: (_, message) => void told.push(`error ${message}`),
  info: (_, message) => void told.push(`info ${message}`),
};

function newAlerts(channels: { send(notice: AlertNotice): void }[] = []): Alerts {
  return new Alerts({
    store: new RedisAlertStore(redis),
    events: { record: async ({ type }) => void told.push(`event ${type}`) },
    clock: systemClock,
    log,
    channels,
    onChange: (condition, raised) => void told.push(`metric ${condition} ${raised}`),
  });
}

test('a condition is told once, by however many, and once again when it is over', async () => {
  const notices: AlertNotice[] = [];
  const channel = { send: (notice: AlertNotice) => void notices.push(notice) };
  // Two orchestrators, many ticks, at once.
  const [one, two] = [newAlerts([channel]), newAlerts([channel])];
  await Promise.all(
    Array.from({ length: 20 }, (_, n) => (n % 2 ? one : two).raise('no_proxy_available', 'None left')),
  );
  expect(told).toEqual(['error None left', 'metric no_proxy_available true', 'event alert.raised']);
  expect(await one.raised()).toMatchObject([{ condition: 'no_proxy_available', message: 'None left' }]);

  // A restart does not forget.
  told = [];
  await newAlerts([channel]).raise('no_proxy_available', 'None left');
  expect(told).toEqual([]);

  await Promise.all([one, two, one, two].map((alerts) => alerts.clear('no_proxy_available')));
  expect(told).toEqual(['info over: None left', 'metric no_proxy_available false', 'event alert.cleared']);
  expect(notices.map((notice) => notice.status)).toEqual(['raised', 'cleared']);
  expect(await one.raised()).toEqual([]);
  await one.raise('no_proxy_available', 'None left');
  expect(notices).toHaveLength(3);
});

let receiver: Server | undefined;
let webhook: AlertWebhook | undefined;
afterEach(async () => {
  await webhook?.stop();
  receiver?.closeAllConnections();
  await new Promise<void>((done) => (receiver ? receiver.close(() => done()) : done()));
  receiver = undefined;
  webhook = undefined;
});

/** A receiver that answers with the statuses in turn, the last one for ever; 0 is no answer at all. */
async function listen(...statuses: number[]): Promise<{ url: string; bodies: Record<string, unknown>[] }> {
  const bodies: Record<string, unknown>[] = [];
  receiver = createServer((req, res) => {
    let text = '';
    req.on('data', (chunk) => {
      text += String(chunk);
    });
    req.on('end', () => {
      bodies.push(JSON.parse(text) as Record<string, unknown>);
      const status = statuses.length > 1 ? statuses.shift() : statuses[0];
      if (status) res.writeHead(status).end();
    });
  });
  await new Promise<void>((done) => receiver?.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`, bodies };
}

const notice = (condition: string): AlertNotice => ({ status: 'raised', condition, message: 'm', at: 'now' });
const quick = { clock: systemClock, retryDelaysMs: [5, 5, 5], timeoutMs: 200 };

test('the webhook is called in order, and again after an error or silence', async () => {
  const { url, bodies } = await listen(500, 0, 200);
  webhook = new AlertWebhook({ url, log: silentLogger, ...quick });
  webhook.send(notice('a'));
  webhook.send(notice('b'));
  await expect.poll(() => bodies.map((body) => body.condition)).toEqual(['a', 'a', 'a', 'b']);
  expect(bodies.at(-1)).toEqual({ type: 'alert.raised', ...notice('b') });
});

test('a receiver that never answers is given up with a warning; stopping does not wait for it', async () => {
  const { url, bodies } = await listen(503);
  const warned: string[] = [];
  webhook = new AlertWebhook({
    url,
    ...quick,
    log: { ...silentLogger, warn: (_, message) => void warned.push(message) },
  });
  webhook.send(notice('a'));
  await expect.poll(() => warned).toEqual(['alert webhook given up']);
  expect(bodies).toHaveLength(4);

  const slow = new AlertWebhook({ url, log: silentLogger, ...quick, retryDelaysMs: [60_000] });
  slow.send(notice('b'));
  await expect.poll(() => bodies.length).toBe(5);
  await slow.stop();
  slow.send(notice('c'));
  expect(bodies).toHaveLength(5);
});
