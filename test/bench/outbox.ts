import { Queue } from 'bullmq';
import { canonicalRaw, DEFAULT_LEASE_POLICY } from '../../src/domain/task.ts';
import { createRedis } from '../../src/infra/redis/client.ts';
import { keys } from '../../src/infra/redis/keys.ts';
import { RedisOutboxStore } from '../../src/infra/redis/outbox-store.ts';
import { ScriptRunner } from '../../src/infra/redis/scripts.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { startRedis } from '../helpers/redis.ts';
import type { Report } from './report.ts';

const TASKS = 20_000;
const SESSIONS = 1000;
const AT_ONCE = 50;
type Client = ReturnType<typeof createRedis>;

/** Enqueue, claim and ack a second: the scripts beside raw Redis commands. */
export async function bench(report: Report): Promise<void> {
  const server = await startRedis({ appendOnly: true });
  const connection = { url: server.url, name: 'bench', log: silentLogger };
  const redis = createRedis(connection);
  try {
    await scripts(redis, report);
    await memory(redis, server.url, report);
  } finally {
    redis.disconnect();
    await server.stop();
  }
}

const session = (n: number): string => `s${n % SESSIONS}`;
const rawOf = (n: number): string =>
  canonicalRaw({ taskId: `t${n}`, mode: 'message', to: '972501234567', text: 'x'.repeat(190) });

async function scripts(redis: Client, report: Report): Promise<void> {
  const store = new RedisOutboxStore({
    redis,
    scripts: new ScriptRunner(redis),
    leases: DEFAULT_LEASE_POLICY,
  });
  const lpush = await perSecond((n) => redis.lpush(`raw:${session(n)}`, rawOf(n)));
  const lmove = await perSecond((n) =>
    redis.lmove(`raw:${session(n)}`, `flying:${session(n)}`, 'RIGHT', 'LEFT'),
  );
  const lrem = await perSecond((n) => redis.lrem(`flying:${session(n)}`, -1, rawOf(n)));
  report({ figure: 'LPUSH', value: lpush, unit: '/s' });
  report({ figure: 'LMOVE', value: lmove, unit: '/s' });
  report({ figure: 'LREM', value: lrem, unit: '/s' });
  await redis.flushall();

  const enqueue = await perSecond((n) => store.enqueue(session(n), [{ taskId: `t${n}`, raw: rawOf(n) }]));
  report({
    figure: 'enqueue, one a call',
    value: enqueue,
    unit: '/s',
    baseline: 'LPUSH',
    ratio: enqueue / lpush,
  });
  // A session has one batch in flight: each claim is acknowledged before the session's next one.
  let claims = 0;
  let acks = 0;
  for (let round = 0; round < TASKS / SESSIONS; round++) {
    const held: string[] = new Array(SESSIONS);
    claims += await seconds(SESSIONS, async (n) => {
      const outcome = await store.claim({ sessionId: session(n), epoch: 0, requestId: `r${round}`, max: 1 });
      if (outcome.kind !== 'tasks') throw new Error(`nothing to claim: ${outcome.kind}`);
      held[n] = outcome.tasks[0]?.raw ?? '';
    });
    acks += await seconds(SESSIONS, (n) => store.ack(session(n), [{ raw: held[n] ?? '', whatsappId: '' }]));
  }
  report({
    figure: 'claim',
    value: TASKS / claims,
    unit: '/s',
    baseline: 'LMOVE',
    ratio: TASKS / claims / lmove,
  });
  report({ figure: 'ack', value: TASKS / acks, unit: '/s', baseline: 'LREM', ratio: TASKS / acks / lrem });
  await redis.flushall();

  const many = 100;
  const calls = await perSecond(
    (n) =>
      store.enqueue(
        session(n),
        Array.from({ length: many }, (_, at) => ({ taskId: `t${n}-${at}`, raw: rawOf(n) })),
      ),
    TASKS / many,
  );
  report({
    figure: `enqueue, ${many} a call`,
    value: calls * many,
    unit: '/s',
    baseline: 'LPUSH',
    ratio: (calls * many) / lpush,
  });
  await redis.flushall();
}

/** What one queued task of 250 bytes costs, by how many wait in each session, beside the bare list and BullMQ. */
async function memory(redis: Client, url: string, report: Report): Promise<void> {
  const store = new RedisOutboxStore({
    redis,
    scripts: new ScriptRunner(redis),
    leases: DEFAULT_LEASE_POLICY,
  });
  const used = async (): Promise<number> =>
    Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1] ?? 0);
  const per = async (fill: () => Promise<unknown>): Promise<number> => {
    await redis.flushall();
    const before = await used();
    await fill();
    // The stream is emptied as SQL is told; it is not what a waiting task costs.
    await redis.del(keys.ledger);
    return ((await used()) - before) / TASKS;
  };
  const inSessions = async (each: number, fill: (id: string, numbers: number[]) => Promise<unknown>) => {
    for (let from = 0; from < TASKS; from += each) {
      await fill(
        `s_${from}`,
        Array.from({ length: each }, (_, n) => from + n),
      );
    }
  };
  const bull = await per(() => fillBullMq(url));
  report({ figure: 'Redis memory per job of BullMQ', value: bull, unit: 'B' });
  for (const each of [1, 10, 100]) {
    const list = await per(() =>
      inSessions(each, (id, numbers) => redis.lpush(keys.outbox(id), ...numbers.map(rawOf))),
    );
    const outbox = await per(() =>
      inSessions(each, (id, numbers) =>
        store.enqueue(
          id,
          numbers.map((n) => ({ taskId: `t${n}`, raw: rawOf(n) })),
        ),
      ),
    );
    const words = `Redis memory per queued task, ${each} in each session`;
    report({ figure: `${words}, list alone`, value: list, unit: 'B' });
    report({ figure: words, value: outbox, unit: 'B', baseline: 'BullMQ', ratio: outbox / bull });
    const without = async (remove: () => Promise<unknown>): Promise<number> => {
      const before = await used();
      await remove();
      return (before - (await used())) / TASKS;
    };
    const active = await without(() => redis.del(keys.outboxActive));
    const ids = await without(() => removeAll(redis, keys.outboxTaskIds('*')));
    report({ figure: `${words}, of it the ids that tell repeats`, value: ids, unit: 'B' });
    report({ figure: `${words}, of it the set of sessions with tasks`, value: active, unit: 'B' });
  }
}

async function removeAll(redis: Client, pattern: string): Promise<void> {
  for await (const some of redis.scanStream({ match: pattern, count: 1000 })) {
    if ((some as string[]).length > 0) await redis.del(some as string[]);
  }
}

async function fillBullMq(url: string): Promise<void> {
  const { hostname, port, password } = new URL(url);
  const queue = new Queue('bench', { connection: { host: hostname, port: Number(port), password } });
  const data = JSON.parse(rawOf(0)) as object;
  for (let from = 0; from < TASKS; from += 1000) {
    await queue.addBulk(Array.from({ length: 1000 }, () => ({ name: 't', data })));
  }
  await queue.close();
}

async function perSecond(operation: (n: number) => Promise<unknown>, count = TASKS): Promise<number> {
  return count / (await seconds(count, operation));
}

/** Seconds for `count` operations, some at once. */
async function seconds(count: number, operation: (n: number) => Promise<unknown>): Promise<number> {
  const started = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await operation(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return (performance.now() - started) / 1000;
}
