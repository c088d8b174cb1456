import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { startRedis, type TestRedis } from '../helpers/redis.ts';
import { type Answer, errorFaults, eventually, type Flotilla, freshId, startFlotilla } from './flotilla.ts';

// A Redis that answers, and cannot be worked with: read-only, loading, dropping connections, standing still.

let server: TestRedis;
let admin: Redis;
let flotilla: Flotilla;
beforeAll(async () => {
  server = await startRedis({ appendOnly: true });
  admin = new Redis(server.url, { retryStrategy: () => 50 });
  admin.on('error', () => undefined);
  flotilla = await startFlotilla({ REDIS_URL: server.url });
});
afterAll(async () => {
  await flotilla?.stop();
  admin?.disconnect();
  await server?.stop();
});

/** A request never hangs: a command is given up after 5 s, and tried once more at most. */
const LONGEST_MS = 12_000;
const waits: number[] = [];
beforeEach(() => void waits.splice(0));
afterEach(() => expect(Math.max(...waits)).toBeLessThan(LONGEST_MS));
const timed = async (call: Promise<Answer>): Promise<Answer> => {
  const from = performance.now();
  const answer = await call;
  waits.push(performance.now() - from);
  return answer;
};
const enqueue = (id: string, taskId: string) =>
  timed(
    flotilla.api('POST', `/api/sessions/${id}/outbox/enqueue`, {
      mode: 'message',
      to: '972501234567',
      text: 'x',
      taskId,
    }),
  );
/** As a worker should: the same request until it has an answer. */
const claim = (id: string, request: string) =>
  timed(
    flotilla.worker('POST', `/api/worker/sessions/${id}/outbox/claim?timeout=0`, undefined, {
      'x-claim-request': request,
    }),
  );

/** Both are refused, in time, and are told when to come again. */
async function refused(id: string): Promise<void> {
  const answers = await Promise.all([enqueue(id, 'refused'), claim(id, 'request-0')]);
  for (const answer of answers) {
    expect(errorFaults(answer, 503)).toEqual([]);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  }
}

/** Everything goes on, in order, with nothing of what was refused but what was asked for again. */
async function goesOn(id: string, waiting: string): Promise<void> {
  await eventually('an enqueue', async () => (await enqueue(id, 'last')).status === 200, 30_000);
  const seen: string[] = [];
  for (let turn = 0; turn < 5 && seen.at(-1) !== 'last'; turn++) {
    const { body } = await claim(id, `request-${turn}`);
    seen.push(body.task.taskId);
    await flotilla.worker('POST', `/api/worker/sessions/${id}/outbox/ack`, { raw: body.raw });
  }
  // What was refused may have been written to SQL: then it comes, where it was accepted.
  expect(seen.filter((taskId) => taskId !== 'refused')).toEqual([waiting, 'last']);
}

test('a replica that refuses to write is a 503, and is gone on with when it is a master again', async () => {
  const id = freshId('bot');
  expect((await enqueue(id, 'first')).status).toBe(200);
  await admin.call('REPLICAOF', '127.0.0.1', '1');
  await refused(id);
  await admin.call('REPLICAOF', 'NO', 'ONE');
  await goesOn(id, 'first');
});

test('a server that is loading its data is a 503', async () => {
  const id = freshId('bot');
  const other = await startRedis();
  const master = new Redis(other.url);
  try {
    // The data of the server as they are, slow to load.
    const fill = master.pipeline();
    for (let each = 0; each < 3000; each++) fill.set(`filler:${each}`, 'x'.repeat(100));
    await fill.exec();
    await admin.config('SET', 'masterauth', other.password);
    await admin.config('SET', 'loading-process-events-interval-bytes', '1024');
    await admin.config('SET', 'key-load-delay', '10000');
    await admin.call('REPLICAOF', '127.0.0.1', String(other.port));
    await eventually('loading', async () => (await admin.info('persistence')).includes('\nloading:1'));
    await refused(id);
    expect(await admin.info('persistence')).toContain('\nloading:1');
    await admin.config('SET', 'key-load-delay', '0');
    // This, too, is refused until it has loaded.
    const free = () => admin.call('REPLICAOF', 'NO', 'ONE').catch(() => null);
    await eventually('a master', async () => (await free()) === 'OK', 30_000);
    await eventually('an enqueue', async () => (await enqueue(id, 'first')).status === 200, 30_000);
    await goesOn(id, 'first');
  } finally {
    master.disconnect();
    await other.stop();
  }
});

test('connections that are dropped under requests cost nobody more than a repeat', async () => {
  const id = freshId('bot');
  const ids = Array.from({ length: 60 }, (_, n) => `t${String(n).padStart(2, '0')}`);
  const dropping = (async () => {
    for (let turn = 0; turn < 10; turn++) {
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub', 'SKIPME', 'yes');
      await sleep(100);
    }
  })();
  for (const taskId of ids) {
    await eventually('an enqueue', async () => {
      const { status } = await enqueue(id, taskId);
      expect([200, 503]).toContain(status);
      return status === 200;
    });
  }
  await dropping;
  const waiting = await timed(
    flotilla.worker('POST', `/api/worker/sessions/${id}/outbox/claim?timeout=5&max=100`),
  );
  expect(waiting.body.tasks.map(({ task }: { task: { taskId: string } }) => task.taskId)).toEqual(ids);
});

test('a server that stands still for ten seconds is a 503 in time, and then all goes on', async () => {
  const id = freshId('bot');
  expect((await enqueue(id, 'first')).status).toBe(200);
  server.pause();
  const resumed = sleep(10_000).then(() => server.resume());
  await refused(id);
  await resumed;
  await goesOn(id, 'first');
});
