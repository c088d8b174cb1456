import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import SqliteDatabase from 'better-sqlite3';
import { startOrchestrator } from '../../demo/orchestrator.ts';
import { createRedis } from '../../src/infra/redis/client.ts';
import { keys } from '../../src/infra/redis/keys.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { startRedis } from '../helpers/redis.ts';
import { API_KEY, WEBHOOK_SECRET } from './orchestrators.ts';
import type { Report } from './report.ts';
import { WireConnection } from './wire.ts';

const SESSIONS = 100;
const PER_SESSION = 200;
const PER_ROUND = SESSIONS * PER_SESSION;
const ROUNDS = 10;
/** So that it is reached early. */
const ROWS_KEPT = 20_000;
const SHOWN = [1, 2, 5, ROUNDS];
const MEGABYTE = 1_000_000;

/** What finished tasks leave behind in Redis and SQL, when ten times as many have been sent as are kept. */
export async function bench(report: Report): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-bench-'));
  const server = await startRedis({ appendOnly: true });
  const redis = createRedis({ url: server.url, name: 'bench', log: silentLogger });
  const sqlite = join(dir, 'bench.sqlite');
  const env = {
    API_KEY,
    WEBHOOK_SECRET,
    REDIS_URL: server.url,
    DB_PATH: sqlite,
    AUTO_PROVISION: 'false',
    RETENTION_ROWS: String(ROWS_KEPT),
  };
  const memory = async (): Promise<number> =>
    Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1] ?? 0);
  try {
    const empty = await memory();
    for (let round = 1; round <= ROUNDS; round++) {
      // The retention's first pass comes with a start; the next ones every hour.
      const orchestrator = await startOrchestrator({ dataDir: dir, env });
      try {
        await until('the retention', () => rowsOf(sqlite) <= ROWS_KEPT * 1.05);
        await sendAll(orchestrator.url, round);
        await until('the ledger', async () => (await redis.xlen(keys.ledger)) === 0);
      } finally {
        await orchestrator.stop();
      }
      if (!SHOWN.includes(round)) continue;
      const sent = (round * PER_ROUND).toLocaleString('en-US');
      report({ figure: `${sent} tasks sent: rows of tasks in SQL`, value: rowsOf(sqlite), unit: '' });
      report({
        figure: `${sent} tasks sent: size of the SQLite file`,
        value: (await stat(sqlite)).size / MEGABYTE,
        unit: 'MB',
      });
      report({
        figure: `${sent} tasks sent: Redis memory`,
        value: ((await memory()) - empty) / MEGABYTE,
        unit: 'MB',
      });
    }
  } finally {
    redis.disconnect();
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

function rowsOf(path: string): number {
  const database = new SqliteDatabase(path, { readonly: true });
  try {
    return Number(database.prepare('select count(*) from tasks').pluck().get());
  } finally {
    database.close();
  }
}

async function until(what: string, condition: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited a minute for ${what}`);
    await systemClock.sleep(100);
  }
}

/** Each session's tasks are enqueued with one request, then claimed and acknowledged 16 at a time. */
async function sendAll(url: string, round: number): Promise<void> {
  const headers = { 'X-API-KEY': API_KEY, 'X-Webhook-Secret': WEBHOOK_SECRET };
  const lane = async (session: number): Promise<void> => {
    const connection = await WireConnection.open(url, headers);
    const post = async (path: string, body?: string): Promise<{ tasks?: { raw: string }[] }> => {
      const answer = await connection.post(path, body);
      if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.body}`);
      return JSON.parse(answer.body) as { tasks?: { raw: string }[] };
    };
    const tasks = Array.from({ length: PER_SESSION }, (_, n) => ({
      mode: 'message',
      to: '972501234567',
      text: 'x'.repeat(150),
      taskId: `r${round}-${session}-${n}`,
    }));
    await post(`/api/sessions/kept${session}/outbox/enqueue`, JSON.stringify({ tasks }));
    const outbox = `/api/worker/sessions/kept${session}/outbox`;
    for (;;) {
      const raws = ((await post(`${outbox}/claim?timeout=0&max=16`)).tasks ?? []).map(({ raw }) => raw);
      if (raws.length === 0) break;
      await post(`${outbox}/ack`, JSON.stringify({ raws }));
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: SESSIONS }, (_, session) => lane(session)));
}
