import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createRedis } from '../../src/infra/redis/client.ts';
import { keys } from '../../src/infra/redis/keys.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { bullmq } from './bullmq.ts';
import type { CycleOrder } from './cycle-client.ts';
import { type CycleClient, firstMessage, type Measured, quantile, startCycleClient } from './cycles.ts';
import { type BenchSystem, startSystem } from './orchestrators.ts';
import { rssBytes } from './process-figures.ts';
import type { Report } from './report.ts';

const BATCH = 16;
const SCALE: Pick<CycleOrder, 'sessions' | 'lanes' | 'warmSeconds' | 'seconds'> = {
  sessions: 1000,
  lanes: 64,
  warmSeconds: 4,
  seconds: 6,
};

/**
 * Whole cycles over HTTP against the orchestrator as `npm start` runs it, logging, metrics and the ledger on, beside
 * what HTTP and BullMQ cost by themselves.
 */
export async function bench(report: Report): Promise<void> {
  const client = startCycleClient();
  try {
    const bare = await bareServer('bare', client);
    report({ figure: 'bare node:http, a small JSON body', value: bare.perSecond, unit: 'requests/s' });
    report({ figure: 'bare node:http, CPU', value: bare.cpuMicros, unit: 'µs/request' });
    const plain = await bareServer('express', client);
    report({
      figure: 'plain Express, the same',
      value: plain.perSecond,
      unit: 'requests/s',
      baseline: 'bare node:http',
      ratio: plain.perSecond / bare.perSecond,
    });
    report({ figure: 'plain Express, CPU', value: plain.cpuMicros, unit: 'µs/request' });
    await withSystem({}, async (system) => {
      const bull = await bullmq(system.redis.url, report);
      await cycles({ client, system, bare, bull, report }, WAYS, '');
    });
    await withSystem({ PROMISE_TASKS_IN: 'redis' }, async (system) => {
      const bull = await bullmq(system.redis.url, () => undefined);
      const ways = WAYS.filter(([, how]) => how === 'cycle');
      await cycles({ client, system, bare, bull, report }, ways, ', promised in Redis alone');
    });
  } finally {
    client.stop();
  }
}

async function withSystem(env: Record<string, string>, use: (system: BenchSystem) => Promise<void>) {
  const system = await startSystem(1, { LOG_LEVEL: 'info', ...env });
  try {
    await use(system);
  } finally {
    await system.stop();
  }
}

async function bareServer(kind: string, client: CycleClient): Promise<Measured> {
  const server = fork(fileURLToPath(new URL('./bare-server.ts', import.meta.url)), [kind]);
  try {
    const url = `http://127.0.0.1:${await firstMessage<number>(server)}`;
    const urls = { enqueueUrls: [url], workerUrls: [url], headers: {} };
    return await client.run({ ...SCALE, ...urls, how: 'post', batch: 1 }, [server.pid ?? 0]);
  } finally {
    server.kill();
  }
}

const WAYS = [
  ['enqueue, claim, ack', 'cycle', 1],
  ['enqueue, then ack and claim in one request', 'next', 1],
  [`enqueue, claim, ack, ${BATCH} a request`, 'cycle', BATCH],
  [`enqueue, then ack and claim, ${BATCH} a request`, 'next', BATCH],
] as const;

interface Bench {
  client: CycleClient;
  system: BenchSystem;
  bare: Measured;
  /** Jobs a second of BullMQ. */
  bull: number;
  report: Report;
}

async function cycles(bench: Bench, ways: readonly (typeof WAYS)[number][], suffix: string): Promise<void> {
  const { client, system, bare, bull, report } = bench;
  const redis = createRedis({ url: system.redis.url, name: 'bench', log: silentLogger });
  const pid = system.orchestrators[0]?.pid ?? 0;
  const urls = system.orchestrators.map(({ url }) => url);
  try {
    for (const [name, how, batch] of ways) {
      const figure = name + suffix;
      const order = { ...SCALE, enqueueUrls: urls, workerUrls: urls, headers: system.headers, how, batch };
      const got = await client.run(order, [pid]);
      const baseline = batch > 1 ? 'BullMQ, add to processed' : 'the bare requests';
      const ratio = got.perSecond / (batch > 1 ? bull : bare.perSecond / (how === 'next' ? 2 : 3));
      report({ figure, value: got.perSecond, unit: 'tasks/s', baseline, ratio });
      report({ figure: `${figure}: CPU of the main thread`, value: got.mainThreadMicros, unit: 'µs/task' });
      report({ figure: `${figure}: CPU of all threads`, value: got.cpuMicros, unit: 'µs/task' });
      report({ figure: `${figure}: enqueue to claim, p99`, value: quantile(got.waits, 0.99), unit: 'ms' });
      const backlog = await redis.xlen(keys.ledger);
      const since = performance.now();
      while ((await redis.xlen(keys.ledger)) > 0) await systemClock.sleep(20);
      report({ figure: `${figure}: ledger entries behind at the end`, value: backlog, unit: '' });
      report({
        figure: `${figure}: until the ledger was caught up`,
        value: performance.now() - since,
        unit: 'ms',
      });
    }
    report({
      figure: `memory of the orchestrator (RSS)${suffix}`,
      value: rssBytes(pid) / 2 ** 20,
      unit: 'MiB',
    });
  } finally {
    redis.disconnect();
  }
}
