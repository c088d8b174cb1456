import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker as Thread } from 'node:worker_threads';
import { Queue, Worker } from 'bullmq';
import express from 'express';
import { DEFAULT_LEASE_POLICY } from '../../src/domain/task.ts';
import { openDatabase } from '../../src/infra/database/database.ts';
import { createRedis, createSubscriber } from '../../src/infra/redis/client.ts';
import { ScriptRunner } from '../../src/infra/redis/scripts.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { composeOutbox, type OutboxParts } from '../../src/orchestrator/compose-outbox.ts';
import { type App, createApp } from '../../src/orchestrator/http/app.ts';
import { createAuthenticator } from '../../src/orchestrator/http/auth.ts';
import { classifyDependencyError } from '../../src/orchestrator/http/dependency-errors.ts';
import { createHttpServer } from '../../src/orchestrator/http/server.ts';
import { verifyWorkerToken } from '../../src/orchestrator/http/worker-token.ts';
import { asManager, asWorker, TEST_API_KEY, TEST_WEBHOOK_SECRET } from '../helpers/http.ts';
import { startRedis } from '../helpers/redis.ts';
import type { ClientOrder } from './outbox-client.ts';
import type { Report } from './report.ts';

const SESSIONS = 1000;
const LANES = 64;
const CYCLES = 9_000;
const BATCH = 16;
const BULL_JOBS = 6_000;

/** Whole cycles over HTTP, ledger in SQL and metrics on, beside what HTTP and BullMQ cost by themselves. */
export async function bench(report: Report): Promise<void> {
  const redisServer = await startRedis({ appendOnly: true });
  const connection = { url: redisServer.url, name: 'bench', log: silentLogger };
  const redis = createRedis(connection);
  const subscriber = createSubscriber(connection);
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-bench-'));
  const database = await openDatabase({ sqlitePath: join(dir, 'bench.sqlite') });
  const parts = composeOutbox({
    redis,
    subscriber,
    scripts: new ScriptRunner(redis),
    database,
    leases: DEFAULT_LEASE_POLICY,
    isDeleted: async () => false,
    clock: systemClock,
    log: silentLogger,
  });
  await parts.service.start();
  try {
    const bare = await bareServers(report);
    const bull = await bullmq(redisServer.url, report);
    await cycles(parts, report, bare, bull);
  } finally {
    await parts.service.stop();
    await database.close();
    redis.disconnect();
    subscriber.disconnect();
    await redisServer.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

interface Measured {
  perSecond: number;
  /** Of the server's thread, in µs per task or request. */
  cpuMicros: number;
}

const order: Omit<ClientOrder, 'url' | 'run'> = {
  how: 'post',
  sessions: SESSIONS,
  cycles: CYCLES,
  batch: 1,
  lanes: LANES,
  headers: { ...asManager, ...asWorker },
};

async function measure(server: Server, given: Partial<ClientOrder>): Promise<Measured> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const workerData = { ...order, url, run: `r${++runs}`, ...given };
  try {
    const before = process.threadCpuUsage();
    const took = await new Promise<number>((resolve, reject) => {
      const thread = new Thread(new URL('./outbox-client.ts', import.meta.url), { workerData });
      thread.once('message', resolve);
      thread.once('error', reject);
    });
    const { user, system } = process.threadCpuUsage(before);
    return { perSecond: workerData.cycles / took, cpuMicros: (user + system) / workerData.cycles };
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

let runs = 0;

async function bareServers(report: Report): Promise<Measured> {
  const bare = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      JSON.parse(Buffer.concat(chunks).toString());
      res.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}');
    });
  });
  const app = express();
  app.post('/', express.json(), (_req, res) => void res.json({ status: 'ok' }));
  await measure(bare, { cycles: 2_000 }); // warm
  const byBare = await measure(bare, {});
  const byExpress = await measure(createServer(app), {});
  report({ figure: 'bare node:http, a small JSON body', value: byBare.perSecond, unit: 'requests/s' });
  report({ figure: 'bare node:http, CPU of the server', value: byBare.cpuMicros, unit: 'µs/request' });
  report({
    figure: 'plain Express, the same',
    value: byExpress.perSecond,
    unit: 'requests/s',
    baseline: 'bare node:http',
    ratio: byExpress.perSecond / byBare.perSecond,
  });
  report({ figure: 'plain Express, CPU of the server', value: byExpress.cpuMicros, unit: 'µs/request' });
  return byBare;
}

/** @returns jobs a second from `add` to processed */
async function bullmq(url: string, report: Report): Promise<number> {
  const { hostname, port, password } = new URL(url);
  const connection = { host: hostname, port: Number(port), ...(password ? { password } : {}) };
  const queue = new Queue('bench', { connection });
  const data = { taskId: 't', mode: 'message', to: '972501234567', text: 'x'.repeat(150) };
  const removed = { removeOnComplete: true };
  const inLanes = async (count: number, step: (n: number) => Promise<unknown>): Promise<number> => {
    const started = performance.now();
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < count) await step(next++);
    };
    await Promise.all(Array.from({ length: 50 }, lane));
    return count / ((performance.now() - started) / 1000);
  };

  let done = 0;
  const worker = new Worker('bench', async () => void done++, { connection, concurrency: 50 });
  const started = performance.now();
  await inLanes(BULL_JOBS, () => queue.add('t', data, removed));
  while (done < BULL_JOBS) await systemClock.sleep(2);
  const throughWorker = BULL_JOBS / ((performance.now() - started) / 1000);
  await worker.close();
  report({ figure: 'BullMQ, add to processed, 50 at once', value: throughWorker, unit: 'jobs/s' });

  const hand = new Worker('bench', null, { connection });
  const byHand = await inLanes(BULL_JOBS, async (n) => {
    const token = `t${n}`;
    await queue.add('t', data, removed);
    const job = await hand.getNextJob(token);
    await job?.moveToCompleted('ok', token, false);
  });
  report({
    figure: 'BullMQ, add, getNextJob and moveToCompleted, 50 at once',
    value: byHand,
    unit: 'jobs/s',
  });
  await hand.close();
  await queue.close();
  return throughWorker;
}

async function cycles(parts: OutboxParts, report: Report, bare: Measured, bull: number): Promise<void> {
  const app = createApp({
    modules: parts.routes,
    auth: createAuthenticator({
      apiKey: TEST_API_KEY,
      webhookSecret: TEST_WEBHOOK_SECRET,
      verifyToken: (token) => verifyWorkerToken(TEST_WEBHOOK_SECRET, token),
      onFailure: () => undefined,
    }),
    log: silentLogger,
    version: '0.0.0',
    classify: classifyDependencyError,
  });
  const expressAlone: App = { ...app, listener: app.express };
  await measure(createHttpServer(app), { how: 'cycle', cycles: 2_000 }); // warm
  const ways = [
    ['enqueue, claim, ack through Express alone', expressAlone, { how: 'cycle' }],
    ['enqueue, claim, ack', app, { how: 'cycle' }],
    ['enqueue, ack and claim in one request', app, { how: 'next' }],
    [`enqueue, claim, ack, ${BATCH} a request`, app, { how: 'cycle', batch: BATCH, cycles: 64_000 }],
    [`enqueue, ack and claim, ${BATCH} a request`, app, { how: 'next', batch: BATCH, cycles: 64_000 }],
  ] as const;
  for (const [figure, served, given] of ways) {
    const { perSecond, cpuMicros } = await measure(createHttpServer(served), given);
    const batched = 'batch' in given;
    report({
      figure,
      value: perSecond,
      unit: 'tasks/s',
      baseline: batched ? 'BullMQ, add to processed' : 'a bare request',
      ratio: perSecond / (batched ? bull : bare.perSecond),
    });
    report({
      figure: `${figure}: CPU of the server`,
      value: cpuMicros,
      unit: 'µs/task',
      baseline: 'a bare request',
      ratio: cpuMicros / bare.cpuMicros,
    });
    const behind = performance.now();
    while ((await parts.ledger.backlog()) > 0) await systemClock.sleep(20);
    report({ figure: `${figure}: ledger behind at the end`, value: performance.now() - behind, unit: 'ms' });
  }
}
