import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keys } from '../../src/infra/redis/keys.ts';
import { startRedis, type TestRedis } from '../helpers/redis.ts';
import { patient } from '../patience.ts';
import { Api } from './api.ts';
import { type Fleet, listSessions, startFleet } from './fleet.ts';
import type { Supervised } from './processes.ts';
import { type Recorder, startRecorder } from './recorder.ts';
import { type System, startSystem } from './system.ts';

// Two orchestrator processes with a fleet of light workers; the one that leads stands still, or dies.

const CAPS = { proxy: 4, phone: 4 };
/** Well under the time in which a worker without its orchestrator cuts itself off (10 s). */
const STALL_MS = 4000;
/** The lease is 1.5 s; a machine may be busy. */
const SOON_MS = 4000;

let dir: string;
let redis: TestRedis;
let admin: Redis;
let recorder: Recorder;
let system: System;
/** Where the workers are: with the first one that led. */
let home: string;
let api: Api;
let fleet: Fleet;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flotilla-leader-'));
  redis = await startRedis({ appendOnly: true });
  admin = new Redis(redis.url);
  recorder = await startRecorder({
    proxies: 2,
    caps: CAPS,
    nowMs: () => performance.now(),
    random: Math.random,
  });
  const sources = join(import.meta.dirname, '..', '..');
  system = await startSystem({ dir, dbDir: dir, redis, caps: CAPS, leaseMs: 5000, sources });
  api = new Api(system.url, system.apiKey);
  fleet = await startFleet(api, recorder, { caps: CAPS, sessions: 6, spare: 0, proxies: 2 });
  home = (await leader()).place;
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await recorder?.stop();
  admin?.disconnect();
  await redis?.stop();
  await rm(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});

const lead = () => admin.hmget(keys.runnerLeader, 'place', 'fence');
async function leader(): Promise<{ leading: Supervised; place: string; fence: string; name: string }> {
  const [place, fence] = await lead();
  const index = system.places.indexOf(place ?? '');
  const leading = system.orchestrators[index];
  if (!leading || !place || !fence) throw new Error(`nobody leads: ${place}`);
  return { leading, place, fence, name: ['a', 'b'][index] ?? '' };
}
async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patient(60_000);
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`not in time: ${what}`);
    await sleep(20);
  }
}
/** The other one, or the process that comes after it in its place, if that is there sooner. */
const another = (fence: string) => until('another leader', async () => (await lead())[1] !== fence);
const connected = (count: number) =>
  until('connected', async () => {
    const all = await listSessions(api).catch(() => []);
    return all.filter(({ state }) => state === 'connected').length === count;
  });
const overlaps = () => recorder.connections.filter(({ replaced }) => replaced);

test('one that stands still is followed, and does no harm when it goes on', async () => {
  const { leading, fence: old } = await leader();
  const before = [...recorder.workers].toSorted();
  const at = performance.now();
  leading.pause();
  await another(old);
  expect(performance.now() - at).toBeLessThan(SOON_MS);
  const [next, fence] = await lead();
  await sleep(Math.max(0, STALL_MS - (performance.now() - at)));
  leading.resume();
  await sleep(3000);
  expect(await lead()).toEqual([next, fence]);
  // Its workers stayed where they are: none was replaced, restarted or cut.
  expect([...recorder.workers].toSorted()).toEqual(before);
  expect(recorder.connections.filter(({ closedMs }) => closedMs === null)).toHaveLength(6);
  expect(overlaps()).toEqual([]);
});

/** The other one may lead since: back to the one that has the workers. */
async function handBack(): Promise<Awaited<ReturnType<typeof leader>>> {
  const { leading, place, fence } = await leader();
  if (place === home) return await leader();
  leading.pause();
  await another(fence);
  leading.resume();
  return await leader();
}

test('one that is killed is followed soon, and its workers go on as those of the process that comes after it', async () => {
  const { leading, fence, name } = await handBack();
  await connected(6);
  const before = [...recorder.workers].toSorted();
  const at = performance.now();
  leading.kill();
  await another(fence);
  expect(performance.now() - at).toBeLessThan(SOON_MS);
  const log = async () => await readFile(join(dir, `${name}.log`), 'utf8');
  await until('adopted', async () => (await log()).includes('workers of an earlier run go on'));
  await sleep(3000);
  await connected(6);
  expect([...recorder.workers].toSorted()).toEqual(before);
  expect(recorder.connections.filter(({ closedMs }) => closedMs === null)).toHaveLength(6);
  expect(overlaps()).toEqual([]);
  expect(recorder.breaches).toEqual([]);
});

test('one that is killed with its workers: they come back without waiting for silence', async () => {
  const { leading, name } = await handBack();
  await connected(6);
  const old = new Map(recorder.workers);
  leading.kill();
  for (const { pid } of old.values()) process.kill(pid, 'SIGKILL');
  await until('new workers', async () =>
    fleet.running.every((id) => recorder.workers.get(id)?.pid !== old.get(id)?.pid),
  );
  await connected(6);
  expect(overlaps()).toEqual([]);
  expect(recorder.breaches).toEqual([]);
  // Said by the process that comes after it, which knows that they are gone. On a machine that stands still now and
  // then one of them may have been the other orchestrator's.
  const log = await readFile(join(dir, `${name}.log`), 'utf8');
  expect(log.match(/the worker ended with its orchestrator/g)?.length).toBeGreaterThan(3);
});
