import { fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DatabaseLocation, openDatabase } from '../../src/infra/database/database.ts';
import { createRedis } from '../../src/infra/redis/client.ts';
import { keys } from '../../src/infra/redis/keys.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { postgresBinDir, startPostgres } from '../helpers/postgres.ts';
import { addSession } from '../services/intake/harness.ts';
import { firstMessage, quantile } from './cycles.ts';
import type { ProbeOrder, ProbeSample } from './intake-probe.ts';
import { type BenchSystem, startSystem } from './orchestrators.ts';
import { cpuSeconds, mainThreadCpuSeconds, rssBytes } from './process-figures.ts';
import type { Report } from './report.ts';
import { WireConnection } from './wire.ts';

const CONTACTS = 100_000;
const SESSIONS = 100;
/** How long the small requests are measured with nothing beside them. */
const QUIET_MS = 4000;
/** The runner is not to start workers for sessions that are there to be chosen, and nothing else. */
const NO_WORKERS = { PROVISIONING_INTERVAL_MS: '3600000', MONITOR_INTERVAL_MS: '3600000' };

/**
 * One job of 100,000 contacts, and what small requests of others wait meanwhile, with the orchestrator as it is
 * started; the main figures once more on Postgres, where it is installed.
 */
export async function bench(report: Report): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-bench-intake-'));
  const binDir = postgresBinDir();
  try {
    await measure({ sqlitePath: join(dir, 'bench.sqlite') }, report);
    if (binDir === null) return;
    const server = await startPostgres(binDir);
    try {
      await measure({ postgresUrl: server.url }, (row) => {
        if (ON_POSTGRES.test(row.figure)) report({ ...row, figure: `${row.figure}, on Postgres` });
      });
    } finally {
      await server.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const ON_POSTGRES = /^job of|^until all|^CPU of the main|^CPU of Redis|^a small request .*, longest$/;

async function measure(location: DatabaseLocation, report: Report): Promise<void> {
  const system = await startSystem(1, {
    ...NO_WORKERS,
    ...('sqlitePath' in location ? { DB_PATH: location.sqlitePath } : { DATABASE_URL: location.postgresUrl }),
  });
  const probe = fork(fileURLToPath(new URL('./intake-probe.ts', import.meta.url)));
  try {
    await addSenders(location);
    const [{ url, pid } = { url: '', pid: 0 }] = system.orchestrators;
    const order: ProbeOrder = { url, headers: system.headers, session: 'probe' };
    probe.send(order);
    const answered = firstMessage<ProbeSample[] | { error: string }>(probe);
    // The first seconds of a process are its own.
    await systemClock.sleep(3000);
    const quietFrom = nowMs();
    await systemClock.sleep(QUIET_MS);

    const cpuOf = () => ({
      main: mainThreadCpuSeconds(pid),
      all: cpuSeconds(pid),
      redis: cpuSeconds(system.redis.pid),
    });
    const before = cpuOf();
    const times = await runJob(system, url);
    const after = cpuOf();
    const until = nowMs();
    probe.send('stop');
    const samples = await answered;
    if ('error' in samples) throw new Error(samples.error);

    const { startedAt, acceptedAt, queuedAt, followedAt } = times;
    report({
      figure: 'job of 100,000 contacts, until it is answered',
      value: acceptedAt - startedAt,
      unit: 'ms',
    });
    report({ figure: 'until all are in outboxes', value: queuedAt - startedAt, unit: 'ms' });
    const rate = (CONTACTS / (queuedAt - acceptedAt)) * 1000;
    report({ figure: 'contacts dispatched', value: rate, unit: '/s' });
    report({ figure: 'until SQL knows that they are', value: followedAt - startedAt, unit: 'ms' });
    const micros = (seconds: number): number => (seconds * 1e6) / CONTACTS;
    const main = micros(after.main - before.main);
    report({ figure: 'CPU of the main thread', value: main, unit: 'µs/contact' });
    report({
      figure: 'CPU of the other threads, SQLite above all',
      value: micros(after.all - before.all) - main,
      unit: 'µs/contact',
    });
    report({ figure: 'CPU of Redis', value: micros(after.redis - before.redis), unit: 'µs/contact' });
    report({ figure: 'memory of the orchestrator (RSS)', value: rssBytes(pid) / 2 ** 20, unit: 'MiB' });
    const inTime = (from: number, to: number): ProbeSample[] =>
      samples.filter(({ sentAtMs, tookMs }) => sentAtMs + tookMs >= from && sentAtMs <= to);
    const quiet = inTime(quietFrom, quietFrom + QUIET_MS);
    reportWaits('beforehand', quiet, quiet, report);
    reportWaits('while the job is taken in', inTime(startedAt, acceptedAt), quiet, report);
    reportWaits('while it is dispatched', inTime(acceptedAt, queuedAt), quiet, report);
    reportWaits('while SQL catches up', inTime(queuedAt, until), quiet, report);
  } finally {
    probe.kill();
    await system.stop();
  }
}

const nowMs = (): number => performance.timeOrigin + performance.now();

async function addSenders(location: DatabaseLocation): Promise<void> {
  const database = await openDatabase(location);
  for (let i = 0; i < SESSIONS; i++) await addSession(database, `s_${i}`);
  await database.close();
}

async function runJob(system: BenchSystem, url: string) {
  const redis = createRedis({ url: system.redis.url, name: 'bench', log: silentLogger });
  const client = await WireConnection.open(url, system.headers);
  try {
    const contacts = Array.from({ length: CONTACTS }, (_, i) => ({
      name: `N${i}`,
      phone: String(972_500_000_000 + i),
    }));
    const body = JSON.stringify({ contacts, message: 'Hello {{name}}' });
    const startedAt = nowMs();
    const { status, body: answer } = await client.post('/api/messages', body);
    const acceptedAt = nowMs();
    if (status !== 200) throw new Error(answer);
    const queued = async (): Promise<number> => {
      const pipeline = redis.pipeline();
      for (let i = 0; i < SESSIONS; i++) pipeline.llen(keys.outbox(`s_${i}`));
      const lengths = (await pipeline.exec()) ?? [];
      return lengths.reduce((all, [, length]) => all + Number(length), 0);
    };
    while ((await queued()) < CONTACTS) await systemClock.sleep(25);
    const queuedAt = nowMs();
    // The small requests beside it leave some entries at any time.
    while ((await redis.xlen(keys.ledger)) > 100) await systemClock.sleep(25);
    return { startedAt, acceptedAt, queuedAt, followedAt: nowMs() };
  } finally {
    client.close();
    redis.disconnect();
  }
}

function reportWaits(when: string, samples: ProbeSample[], quiet: ProbeSample[], report: Report): void {
  // It was over before anybody could ask.
  if (samples.length === 0) return;
  const sorted = (of: ProbeSample[]): number[] => of.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
  const waits = sorted(samples);
  for (const [name, share] of [
    ['p99', 0.99],
    ['longest', 1],
  ] as const) {
    report({
      figure: `a small request ${when}, ${name}`,
      value: quantile(waits, share),
      unit: 'ms',
      ...(samples === quiet
        ? {}
        : { baseline: 'beforehand', ratio: quantile(waits, share) / quantile(sorted(quiet), share) }),
    });
  }
}
