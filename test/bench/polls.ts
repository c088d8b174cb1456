import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DEFAULT_LEASE_POLICY } from '../../src/domain/task.ts';
import { openDatabase } from '../../src/infra/database/database.ts';
import { createRedis, createSubscriber } from '../../src/infra/redis/client.ts';
import { ScriptRunner } from '../../src/infra/redis/scripts.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { composeOutbox } from '../../src/orchestrator/compose-outbox.ts';
import { asManager, asWorker, startTestServer } from '../helpers/http.ts';
import { startRedis } from '../helpers/redis.ts';
import type { Report } from './report.ts';

const POLLS = 10_000;
const IDLE_SECONDS = 8;
const SEND_SECONDS = 6;

/** Ten thousand waiting polls: what they cost while nothing comes, and how soon they answer when something does. */
export async function bench(report: Report): Promise<void> {
  const redisServer = await startRedis({ appendOnly: true });
  const connection = { url: redisServer.url, name: 'bench', log: silentLogger };
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-bench-'));
  const database = await openDatabase({ sqlitePath: join(dir, 'bench.sqlite') });
  const start = async () => {
    const redis = createRedis(connection);
    const subscriber = createSubscriber(connection);
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
    const http = await startTestServer(parts.routes);
    return { redis, subscriber, parts, http };
  };
  const { redis, subscriber, parts, http } = await start();
  const client = startClient(http.url);
  try {
    const rssBefore = await rss();
    await tell(client, 'open');
    while (parts.hub.waiting < POLLS) await systemClock.sleep(50);
    report({
      figure: `${POLLS} polls: RSS a poll`,
      value: ((await rss()) - rssBefore) / POLLS / 1024,
      unit: 'kB',
    });
    const clients = (await redis.client('LIST')) as string;
    report({ figure: 'Redis connections', value: clients.trim().split('\n').length, unit: '' });

    const before = process.cpuUsage();
    await systemClock.sleep(IDLE_SECONDS * 1000);
    const { user, system } = process.cpuUsage(before);
    report({ figure: 'CPU while idle', value: (user + system) / IDLE_SECONDS / 1e4, unit: '% of a core' });

    const latencies = ((await tell(client, 'send', SEND_SECONDS)) as number[]).sort((a, b) => a - b);
    const at = (share: number): number => latencies[Math.floor(latencies.length * share)] ?? Number.NaN;
    if (latencies.length < SEND_SECONDS * 200) {
      report({
        figure: 'tasks that were not claimed in time',
        value: SEND_SECONDS * 200 - latencies.length,
        unit: '',
      });
    }
    report({ figure: 'enqueue to claim answered, 200 a second, p50', value: at(0.5), unit: 'ms' });
    report({ figure: 'enqueue to claim answered, 200 a second, p99', value: at(0.99), unit: 'ms' });
  } finally {
    client.send({ command: 'close', argument: 0 });
    await http.stop();
    await parts.service.stop();
    await database.close();
    redis.disconnect();
    subscriber.disconnect();
    await redisServer.stop();
    client.kill();
    await rm(dir, { recursive: true, force: true });
  }
}

async function rss(): Promise<number> {
  await systemClock.sleep(1000);
  return process.memoryUsage.rss();
}

function startClient(url: string): ChildProcess {
  const entry = fileURLToPath(new URL('./polls-client.ts', import.meta.url));
  return fork(entry, [url, String(POLLS), JSON.stringify({ ...asManager, ...asWorker })], {
    execArgv: ['--max-semi-space-size=16'],
  });
}

function tell(client: ChildProcess, command: string, argument = 0): Promise<unknown> {
  return new Promise((resolve, reject) => {
    client.once('message', ({ result }: { result: unknown }) => resolve(result));
    client.once('exit', () => reject(new Error('the client has ended')));
    client.send({ command, argument });
  });
}
