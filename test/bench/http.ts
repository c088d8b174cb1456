import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createRedis } from '../../src/infra/redis/client.ts';
import { keys } from '../../src/infra/redis/keys.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { bullmq, USUAL_AT_ONCE } from './bullmq.ts';
import { type CycleClient, firstMessage, quantile, startCycleClient } from './cycles.ts';
import { type BenchSystem, startSystem } from './orchestrators.ts';
import { rssBytes } from './process-figures.ts';
import type { Report } from './report.ts';
import { ROUNDS, Rounds, warmSecondsOf } from './rounds.ts';

const BATCH = 16;
/**
 * Sessions that take turns, and requests under way at once (lanes): each of the sessions has a worker of its own with a
 * connection of its own, and a quarter to a half of them ask for something at any time.
 */
export const SCALE = { sessions: 1000, lanes: 256, seconds: 5 };
/** With so many, requests of many tasks are served fastest, and those of one slower: the collector copies them. */
const BATCH_LANES = 512;

export const WAYS = [
  ['enqueue, claim, ack', 'cycle', 1, SCALE.lanes],
  ['enqueue, then ack and claim in one request', 'next', 1, SCALE.lanes],
  [`enqueue, claim, ack, ${BATCH} a request`, 'cycle', BATCH, BATCH_LANES],
  [`enqueue, then ack and claim, ${BATCH} a request`, 'next', BATCH, BATCH_LANES],
] as const;
type Way = (typeof WAYS)[number];

/**
 * Whole cycles over HTTP against the orchestrator as `npm start` runs it, logging, metrics and the ledger on, beside
 * what HTTP and BullMQ cost by themselves.
 */
export async function bench(report: Report): Promise<void> {
  const client = startCycleClient();
  const servers = [startBareServer('bare'), startBareServer('express')];
  try {
    const [bare, express] = await Promise.all(servers.map(({ ready }) => ready));
    if (!bare || !express) throw new Error('no server to compare with');
    const measure = { client, bare, express, report };
    await withSystem({}, [], (system) => measureSystem({ ...measure, system, ways: WAYS, suffix: '' }));
    await withSystem({}, ['--max-semi-space-size=64'], (system) =>
      measureSystem({ ...measure, system, ways: WAYS, suffix: ', young generation of 64 MB' }),
    );
    const ways = WAYS.filter(([, how]) => how === 'cycle');
    await withSystem({ PROMISE_TASKS_IN: 'redis' }, [], (system) =>
      measureSystem({ ...measure, system, ways, suffix: ', promised in Redis alone' }),
    );
  } finally {
    client.stop();
    for (const { stop } of servers) stop();
  }
}

async function withSystem(
  env: Record<string, string>,
  nodeOptions: readonly string[],
  use: (system: BenchSystem) => Promise<void>,
): Promise<void> {
  const system = await startSystem(1, { LOG_LEVEL: 'info', ...env }, nodeOptions);
  try {
    await use(system);
  } finally {
    await system.stop();
  }
}

interface BareServer {
  url: string;
  pid: number;
}

function startBareServer(kind: 'bare' | 'express'): { ready: Promise<BareServer>; stop(): void } {
  const server = fork(fileURLToPath(new URL('./bare-server.ts', import.meta.url)), [kind]);
  const ready = firstMessage<number>(server).then((port) => ({
    url: `http://127.0.0.1:${port}`,
    pid: server.pid ?? 0,
  }));
  return { ready, stop: () => void server.kill() };
}

interface Bench {
  client: CycleClient;
  system: BenchSystem;
  bare: BareServer;
  express: BareServer;
  ways: readonly Way[];
  /** Of the figures' names. */
  suffix: string;
  report: Report;
}

const BARE = 'bare node:http, a small JSON body';
const EXPRESS = 'plain Express, the same';
/** Its usual number, and as many as we have. */
const AT_ONCE = [USUAL_AT_ONCE, BATCH_LANES];
const bullmqFigure = (atOnce: number): string => `BullMQ, add to processed, ${atOnce} at once`;
const bullmqByHand = (atOnce: number): string =>
  `BullMQ, add, getNextJob and moveToCompleted, ${atOnce} at once`;
/** What batches are compared with, round by round. */
const BULLMQ = 'BullMQ, add to processed, the faster of both';
const MAIN = 'CPU of the main thread';
const ALL = 'CPU of all threads';
const WAIT = 'enqueue to claim, p99';
const BEHIND = 'ledger entries behind at the end';
const CAUGHT_UP = 'until the ledger was caught up';

async function measureSystem({ client, system, bare, express, ways, suffix, report }: Bench): Promise<void> {
  const rounds = new Rounds();
  const redis = createRedis({ url: system.redis.url, name: 'bench', log: silentLogger });
  const pid = system.orchestrators[0]?.pid ?? 0;
  const urls = system.orchestrators.map(({ url }) => url);
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const warmSeconds = warmSecondsOf(round);
      for (const [figure, server] of [
        [BARE, bare],
        [EXPRESS, express],
      ] as const) {
        const to = { enqueueUrls: [server.url], workerUrls: [server.url], headers: {} };
        const got = await client.run({ ...SCALE, ...to, warmSeconds, how: 'post', batch: 1 }, [server.pid]);
        rounds.note(figure, got.perSecond);
        rounds.note(`${figure}, CPU`, got.cpuMicros);
      }
      const jobs = new Map<string, number>();
      for (const atOnce of AT_ONCE) {
        await bullmq(system.redis.url, atOnce, ({ figure, value }) => {
          jobs.set(figure, value);
          rounds.note(figure, value);
        });
      }
      rounds.note(BULLMQ, Math.max(...AT_ONCE.map((atOnce) => jobs.get(bullmqFigure(atOnce)) ?? Number.NaN)));
      for (const [name, how, batch, lanes] of ways) {
        const to = { enqueueUrls: urls, workerUrls: urls, headers: system.headers };
        const got = await client.run({ ...SCALE, ...to, warmSeconds, how, batch, lanes }, [pid]);
        rounds.note(name, got.perSecond);
        rounds.note(`${name}: ${MAIN}`, got.mainThreadMicros);
        rounds.note(`${name}: ${ALL}`, got.cpuMicros);
        rounds.note(`${name}: ${WAIT}`, quantile(got.waits, 0.99));
        rounds.note(`${name}: ${BEHIND}`, await redis.xlen(keys.ledger));
        const since = performance.now();
        while ((await redis.xlen(keys.ledger)) > 0) await systemClock.sleep(20);
        rounds.note(`${name}: ${CAUGHT_UP}`, performance.now() - since);
      }
    }
  } finally {
    redis.disconnect();
  }
  const show = (figure: string, unit: string, baseline?: string, factor?: number): void =>
    report({
      figure: figure + suffix,
      value: rounds.median(figure),
      unit,
      ...(baseline && { baseline, ratio: rounds.ratio(figure, baseline, factor) }),
    });
  show(BARE, 'requests/s');
  show(`${BARE}, CPU`, 'µs/request');
  if (suffix === '') {
    show(EXPRESS, 'requests/s', BARE);
    show(`${EXPRESS}, CPU`, 'µs/request');
    for (const atOnce of AT_ONCE) show(bullmqByHand(atOnce), 'jobs/s');
  }
  for (const atOnce of AT_ONCE) show(bullmqFigure(atOnce), 'jobs/s');
  show(BULLMQ, 'jobs/s');
  for (const [name, how, batch] of ways) {
    if (batch > 1) show(name, 'tasks/s', BULLMQ);
    else show(name, 'tasks/s', BARE, 1 / REQUESTS[how]);
    // Of the requests alone, if a bare server answered them.
    if (batch === 1) show(`${name}: ${MAIN}`, 'µs/task', `${BARE}, CPU`, REQUESTS[how]);
    else show(`${name}: ${MAIN}`, 'µs/task');
    show(`${name}: ${ALL}`, 'µs/task');
    show(`${name}: ${WAIT}`, 'ms');
    show(`${name}: ${BEHIND}`, '');
    show(`${name}: ${CAUGHT_UP}`, 'ms');
  }
  report({
    figure: `memory of the orchestrator (RSS)${suffix}`,
    value: rssBytes(pid) / 2 ** 20,
    unit: 'MiB',
  });
}

/** Requests a task. */
const REQUESTS = { cycle: 3, next: 2 };
