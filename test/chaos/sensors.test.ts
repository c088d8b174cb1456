import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { redisIncarnation } from '../../src/infra/redis/incarnation.ts';
import { keys } from '../../src/infra/redis/keys.ts';
import { startRedis, type TestRedis } from '../helpers/redis.ts';
import { blindSpots } from './blind-spots.ts';
import { seeded } from './random.ts';
import { type Recorder, startRecorder } from './recorder.ts';
import { probeStale, type StaleProbe } from './stale.ts';
import { watchCaps } from './watch.ts';

// What the checker is told, it judges; this is about what it is told: each sensor has to see what it is there for.

const CAPS = { proxy: 2, phone: 2 };
/** The recorder gives the end of a killed process a quarter of a second. */
const GRACE_MS = 250;
const now = (): number => performance.now();

let redis: TestRedis;
let admin: Redis;
let recorder: Recorder;
const sockets: Socket[] = [];
beforeAll(async () => {
  redis = await startRedis();
  admin = new Redis(redis.url);
});
afterAll(async () => {
  admin.disconnect();
  await redis.stop();
});
beforeEach(async () => {
  await admin.flushall();
  recorder = await startRecorder({ proxies: 3, caps: CAPS, nowMs: now, random: seeded(1).next });
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await recorder.stop();
});

/** As a worker connects. @returns its connection, when it has been let in */
async function hello(session: string, proxy: number, { phone = session, epoch = 1 } = {}): Promise<Socket> {
  recorder.announce(session, { phone, batch: 1 });
  const port = Number(new URL(recorder.proxyLines[proxy] ?? '').port);
  const socket = connect({ port, host: '127.0.0.1' });
  sockets.push(socket);
  socket.on('error', () => undefined);
  socket.write(`${JSON.stringify({ t: 'hello', session, epoch, token: `${session}-${epoch}`, pid: 1 })}\n`);
  await new Promise((resolve) => socket.once('data', resolve));
  return socket;
}
const untilSeen = (check: () => boolean) => until(check, 10_000);
async function until(check: () => boolean, withinMs: number): Promise<void> {
  const deadline = now() + withinMs;
  while (!check()) {
    if (now() > deadline) throw new Error(`not in time: ${check.toString()}`);
    await sleep(10);
  }
}

test('two connections of a session are seen to overlap, a reconnection is not', async () => {
  const first = await hello('s1', 0);
  first.destroy();
  await hello('s1', 0, { epoch: 2 });
  await hello('s2', 0);
  await sleep(GRACE_MS * 2);
  expect(recorder.connections.filter(({ replaced }) => replaced)).toEqual([]);
  await hello('s1', 1, { epoch: 3 });
  await untilSeen(() => recorder.connections.some(({ replaced }) => replaced));
  const replaced = recorder.connections.filter((each) => each.replaced);
  expect(replaced).toMatchObject([{ session: 's1', epoch: 2 }]);
});

test('proxies and phones see how many they carry', async () => {
  for (const session of ['s1', 's2']) await hello(session, 0, { phone: 'p' });
  await sleep(GRACE_MS * 2);
  expect(recorder.breaches).toEqual([]);
  await hello('s3', 0, { phone: 'q' });
  await untilSeen(() => recorder.breaches.length === 1);
  await hello('s4', 1, { phone: 'p' });
  await untilSeen(() => recorder.breaches.length === 2);
  expect(recorder.breaches.join()).toMatch(/proxy 0 carried 3 .*phone p carried 3/);
});

test.each([
  ['the counter of a proxy', () => admin.hset(keys.proxyActiveCount, 'x', 3), 'counter of x: 3'],
  ['the counter of a phone', () => admin.hset(keys.phoneActiveCount, 'p', 3), 'counter of p: 3'],
  [
    'bindings of a proxy that nothing counts',
    () => bind(['x', 'p'], ['x', 'q'], ['x', 'r']),
    'bindings of x: 3',
  ],
  [
    'bindings of a phone that nothing counts',
    () => bind(['x', 'p'], ['y', 'p'], ['z', 'p']),
    'bindings of p: 3',
  ],
])('in Redis: %s', async (_name, damage, found) => {
  await admin.set(keys.incarnation, await redisIncarnation(admin));
  const stop = new AbortController();
  const watching = watchCaps(admin, CAPS, 5, now, stop.signal);
  await damage();
  // Gone soon, as what happens between two steps is.
  await sleep(200);
  await admin.flushall();
  stop.abort();
  const { breaches, looks } = await watching;
  expect(breaches).toHaveLength(1);
  expect(breaches[0]).toContain(found);
  expect(looks).toBeGreaterThan(0);
});

const bind = (...places: [proxy: string, phone: string][]) =>
  admin.hset(
    keys.bindings,
    Object.fromEntries(places.map(([proxy, phone], n) => [`s${n}`, JSON.stringify({ proxy, phone })])),
  );

test('a server that nobody may use yet is not looked at, and a watch that never looked is an oddity', async () => {
  const stop = new AbortController();
  const watching = watchCaps(admin, CAPS, 5, now, stop.signal);
  await admin.hset(keys.proxyActiveCount, 'x', 9);
  await sleep(200);
  stop.abort();
  const watched = await watching;
  expect(watched).toEqual({ breaches: [], looks: 0 });
  const refused = { claim: 1, nack: 0, touch: 0, event: 0, auth: 0 };
  const tried = 40;
  expect(blindSpots(watched, { tried, refused }, 60_000)).toHaveLength(1);
  expect(blindSpots({ looks: 900 }, { tried, refused }, 60_000)).toEqual([]);
  const never = { ...refused, claim: 0 };
  expect(blindSpots({ looks: 900 }, { tried, refused: never }, 60_000)).toHaveLength(1);
  expect(blindSpots({ looks: 900 }, { tried: 2, refused: never }, 60_000)).toEqual([]);
});

/**
 * An orchestrator that has forgotten to ask for the epoch in one place. It still refuses what no worker could have
 * meant: a message that is not in flight, a write of the auth state out of order.
 */
async function forgetful(forgotten: string, inFlight: string): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const path = request.url ?? '';
      const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : {};
      const isToday = request.headers['x-webhook-secret'] === 's1-2';
      const answer = (status: number, json: object) => response.writeHead(status).end(JSON.stringify(json));
      if (request.method === 'GET' && isToday) return answer(200, { sequence: 7 });
      const isSense =
        (body.raw === undefined || body.raw === inFlight) &&
        (body.sequence === undefined || body.sequence === 8);
      if (!path.includes(forgotten)) return answer(409, { code: 'stale_epoch' });
      return isSense ? answer(200, { status: 'ok' }) : answer(409, { code: 'not_current' });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return { server, url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}` };
}

test.each(['claim', 'nack', 'touch', 'event', 'auth'] as const)(
  'a %s of a replaced worker that is not refused for its epoch is seen',
  async (what) => {
    const raw = '{"taskId":"t1"}';
    await admin.lpush(keys.outboxProcessing('s1'), raw);
    (await hello('s1', 0)).destroy();
    await hello('s1', 0, { epoch: 2 });
    const { server, url } = await forgetful(what, raw);
    const stop = new AbortController();
    const probing: Promise<StaleProbe> = probeStale(
      { url, recorder, admin, random: seeded(3), nowMs: now, everyMs: 1 },
      stop.signal,
    );
    await sleep(1500);
    stop.abort();
    const { accepted, refused } = await probing;
    server.close();
    expect(accepted.length).toBeGreaterThan(0);
    expect(new Set(accepted.map((each) => each.split(' ')[0]))).toEqual(new Set([what]));
    expect(Object.entries(refused).filter(([, count]) => count === 0)).toEqual([[what, 0]]);
  },
);
