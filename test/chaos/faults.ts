import { execFileSync } from 'node:child_process';
import { rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { keys } from '../../src/infra/redis/keys.ts';
import type { TestRedis } from '../helpers/redis.ts';
import { copyLog, cutLog, putLogBack } from '../helpers/redis-log.ts';
import type { TcpProxy } from '../helpers/tcp-proxy.ts';
import { signal } from './processes.ts';
import type { Random } from './random.ts';
import type { Recorder } from './recorder.ts';
import type { System } from './system.ts';

export interface FaultContext {
  system: System;
  /** Between workers and WhatsApp, one in front of each proxy. */
  whatsappLinks: readonly TcpProxy[];
  redis: TestRedis;
  /** A connection of our own, past all links. */
  admin: Redis;
  recorder: Recorder;
  random: Random;
  /** A file system of its own that holds the database; null where that cannot be had. */
  dbMount: string | null;
  /** Longest that something is left standing, in milliseconds. */
  longestMs: number;
}

/** Does its damage and puts it right. @returns the sessions that it touched; null for all */
export type Fault = (context: FaultContext) => Promise<string[] | null>;

const between = (random: Random, from: number, to: number): Promise<void> => sleep(random.whole(from, to));

/** A few of the workers that are connected now. */
function someWorkers({ recorder, random }: FaultContext): [string, number][] {
  const all = [...recorder.workers].map(([session, { pid }]): [string, number] => [session, pid]);
  return random.shuffled(all).slice(0, random.whole(1, 6));
}

const killWorkers: Fault = async (context) => {
  const workers = someWorkers(context);
  for (const [, pid] of workers) signal(pid, 'SIGKILL');
  return workers.map(([session]) => session);
};

const stopWorkers: Fault = async (context) => {
  const workers = someWorkers(context);
  for (const [, pid] of workers) signal(pid, 'SIGSTOP');
  await between(context.random, 1000, context.longestMs);
  for (const [, pid] of workers) signal(pid, 'SIGCONT');
  return workers.map(([session]) => session);
};

const killOrchestrator: Fault = async ({ system, random }) => {
  random.pick(system.orchestrators).kill();
  return null;
};

/** Whoever has the lead, and with it most of the workers; one of them while nobody can say who. */
const killLeader: Fault = async ({ system, admin, random }) => {
  const soon = new Promise<null>((resolve) => setTimeout(resolve, 500, null));
  const place = await Promise.race([admin.hget(keys.runnerLeader, 'place').catch(() => null), soon]);
  const leader = system.orchestrators[system.places.indexOf(place ?? '')];
  (leader ?? random.pick(system.orchestrators)).kill();
  return null;
};

const stopOrchestrator: Fault = async ({ system, random, longestMs }) => {
  const orchestrator = random.pick(system.orchestrators);
  orchestrator.pause();
  await between(random, 1000, longestMs);
  orchestrator.resume();
  return null;
};

const killDispatcher: Fault = async ({ system }) => {
  system.dispatcher.kill();
  return null;
};

const stopDispatcher: Fault = async ({ system, random, longestMs }) => {
  system.dispatcher.pause();
  await between(random, 1000, longestMs);
  system.dispatcher.resume();
  return null;
};

const killRedis: Fault = async ({ redis, random }) => {
  await redis.kill();
  await between(random, 0, 1500);
  await redis.restart();
  return null;
};

const emptyRedis: Fault = async ({ redis, random }) => {
  await redis.kill();
  await between(random, 0, 1500);
  await redis.restart({ keepData: false });
  return null;
};

const olderRedis: Fault = async ({ redis, admin, random }) => {
  const copy = join(redis.dir, 'older');
  await copyLog(redis, admin, copy);
  await between(random, 1000, 4000);
  await redis.kill();
  await putLogBack(redis, copy);
  await redis.restart();
  return null;
};

const cutRedis: Fault = async ({ redis, random }) => {
  await redis.kill();
  await cutLog(redis, random.whole(1000, 200_000));
  await redis.restart();
  return null;
};

const killClients: Fault = async ({ admin }) => {
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'SKIPME', 'yes');
  return null;
};

/** The process stands: connections stay open, and nothing answers. */
const stallRedis: Fault = async ({ redis, random, longestMs }) => {
  redis.pause();
  await between(random, 1000, Math.min(10_000, longestMs * 2));
  redis.resume();
  return null;
};

/** The server sleeps in the middle of its work, as behind a slow command. */
const sleepRedis: Fault = async ({ admin, random, longestMs }) => {
  await admin.call('DEBUG', 'SLEEP', String(random.whole(1000, Math.min(10_000, longestMs * 2)) / 1000));
  return null;
};

const flushScripts: Fault = async ({ admin }) => {
  await admin.script('FLUSH');
  return null;
};

const readOnlyRedis: Fault = async ({ admin, random }) => {
  await admin.call('REPLICAOF', '127.0.0.1', '1');
  await between(random, 500, 2500);
  await admin.call('REPLICAOF', 'NO', 'ONE');
  return null;
};

const fullRedis: Fault = async ({ admin, random }) => {
  const used = Number(/^used_memory:(\d+)/m.exec(await admin.info('memory'))?.[1]);
  await admin.config('SET', 'maxmemory', String(used));
  await between(random, 1000, 3000);
  await admin.config('SET', 'maxmemory', '0');
  return null;
};

/** Any two parts: one link, or a few of those to WhatsApp. */
function someLinks({ system, whatsappLinks, random }: FaultContext): readonly TcpProxy[] {
  const few = random.shuffled(whatsappLinks).slice(0, random.whole(1, 3));
  return random.pick([...[...system.links.values()].map((link) => [link]), few]);
}

const brokenLink =
  (state: 'cut' | 'hole' | 'half'): Fault =>
  async (context) => {
    const links = someLinks(context);
    for (const link of links) link.set(state);
    await between(context.random, 500, context.longestMs);
    for (const link of links) link.set('pass');
    return null;
  };

/** The way to WhatsApp is gone for some: nothing goes out, nothing comes back, or nothing can be connected. */
const brokenWhatsappLink: Fault = async ({ whatsappLinks, random, longestMs }) => {
  const links = random.shuffled(whatsappLinks).slice(0, random.whole(2, 5));
  const state = random.pick(['cut', 'hole', 'half'] as const);
  for (const link of links) link.set(state);
  await between(random, 500, longestMs);
  for (const link of links) link.set('pass');
  return null;
};

const slowLink: Fault = async (context) => {
  const { random } = context;
  const links = someLinks(context);
  const delayMs = random.whole(50, 500);
  for (const link of links) link.delay(delayMs);
  await between(random, 1000, context.longestMs);
  for (const link of links) link.delay(0);
  return null;
};

const moody =
  (mood: 'drop-before' | 'drop-after' | 'deaf'): Fault =>
  async ({ recorder, random }) => {
    recorder.mood(mood, mood === 'deaf' ? 1 : 0.5);
    await between(random, 500, 2500);
    recorder.mood('fine');
    return null;
  };

const cutWhatsapp: Fault = async ({ recorder }) => {
  recorder.cut();
  return null;
};

const fullDisk: Fault = async ({ dbMount, random }) => {
  if (dbMount === null) return [];
  const filler = join(dbMount, 'filler');
  const { bavail, bsize } = await statfs(dbMount);
  try {
    execFileSync('fallocate', ['-l', String(Math.max(bsize, bavail * bsize)), filler], { stdio: 'ignore' });
  } catch {
    // Somebody else has taken the last page: full it is.
  }
  await between(random, 1000, 3000);
  await rm(filler, { force: true });
  return null;
};

export const FAULTS: Readonly<Record<string, Fault>> = {
  'worker killed': killWorkers,
  'worker stopped': stopWorkers,
  'orchestrator killed': killOrchestrator,
  'leader killed': killLeader,
  'orchestrator stopped': stopOrchestrator,
  'dispatcher killed': killDispatcher,
  'dispatcher stopped': stopDispatcher,
  'redis killed': killRedis,
  'redis empty': emptyRedis,
  'redis older': olderRedis,
  'redis tail cut': cutRedis,
  'redis clients killed': killClients,
  'redis stalled': stallRedis,
  'redis asleep': sleepRedis,
  'redis scripts flushed': flushScripts,
  'redis read-only': readOnlyRedis,
  'redis full': fullRedis,
  'link cut': brokenLink('cut'),
  'link black-holed': brokenLink('hole'),
  'link half-open': brokenLink('half'),
  'link slow': slowLink,
  'link to whatsapp': brokenWhatsappLink,
  'whatsapp drops before': moody('drop-before'),
  'whatsapp drops after': moody('drop-after'),
  'whatsapp deaf': moody('deaf'),
  'whatsapp cut': cutWhatsapp,
  'disk full': fullDisk,
};

/** Two of these at a time would say nothing about either. */
export const isExclusive = (kind: string): boolean => kind.startsWith('redis') || kind === 'disk full';
