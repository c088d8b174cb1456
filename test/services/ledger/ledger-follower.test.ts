import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createTaskStore } from '../../../src/infra/database/task-store.ts';
import { keys } from '../../../src/infra/redis/keys.ts';
import { RedisLedgerStream } from '../../../src/infra/redis/ledger-stream.ts';
import { ScriptRunner } from '../../../src/infra/redis/scripts.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { whatsappMessageId } from '../../../src/kernel/ids.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { LedgerFollower } from '../../../src/services/ledger/ledger-follower.ts';
import type { TaskStore } from '../../../src/services/ledger/ports.ts';
import { type OutboxHarness, startOutbox } from '../outbox/harness.ts';

let h: OutboxHarness;
beforeEach(async () => {
  h = await startOutbox({ idle: true, options: { strandedAfterMs: 0 } });
});
afterEach(() => h.stop());

const task = (taskId: string, given: object = {}) => ({
  taskId,
  mode: 'message' as const,
  to: '972501234567',
  text: 'hi',
  ...given,
});
const claim = async (session: string) => (await h.work(session, 'claim?timeout=0')).body.raw as string;
const rows = async () =>
  Object.fromEntries(
    (await h.database.db.selectFrom('tasks').selectAll().execute()).map((row) => [row.id, row]),
  );
/** Another follower of the same stream, as in another process. */
function follower(store: Partial<TaskStore> = {}, leadMs = 5000) {
  return new LedgerFollower({
    stream: new RedisLedgerStream({ redis: h.redis, scripts: new ScriptRunner(h.redis) }),
    tasks: { ...createTaskStore(h.database, systemClock), ...store },
    push: async () => undefined,
    clock: systemClock,
    log: silentLogger,
    leadMs,
  });
}

describe('the ledger', () => {
  test('follows what the scripts say', async () => {
    await h.outbox.enqueue('s1', [task('a'), task('b'), task('c')]);
    await h.outbox.ack('s1', [{ raw: await claim('s1'), whatsappId: null }]);
    await h.work('s1', 'nack', {
      body: { raw: await claim('s1'), permanent: true, reason: 'no such number' },
    });
    await h.ledger.recordReceipt('s1', { taskId: 'a', status: 'delivered', atMs: 1_900_000_000_000 });
    await h.ledger.recordReceipt('s1', {
      whatsappId: whatsappMessageId('s1', 'a'),
      status: 'read',
      atMs: 1_900_000_001_000,
    });
    await h.ledger.recordReceipt('s1', { whatsappId: 'not ours', status: 'read', atMs: 1 });
    await h.ledger.recordReceipt('s1', { taskId: 'a', status: 'read', atMs: Number.NaN });
    expect((await rows()).a?.state).toBe('accepted');
    await h.follower.drain();
    const { a, b, c } = await rows();
    expect(a).toMatchObject({
      state: 'read',
      attempts: 1,
      whatsapp_id: whatsappMessageId('s1', 'a'),
      delivered_at: '2030-03-17T17:46:40.000Z',
      read_at: '2030-03-17T17:46:41.000Z',
    });
    expect(b).toMatchObject({ state: 'failed', reason: 'no such number' });
    expect(c).toMatchObject({ state: 'queued', queued_at: expect.any(String) });
    expect(await h.redis.xlen(keys.ledger)).toBe(0);
  });

  test('keeps what SQL cannot take now, and applies it in order afterwards', async () => {
    await h.outbox.enqueue('s1', [task('a')]);
    await h.outbox.ack('s1', [{ raw: await claim('s1'), whatsappId: null }]);
    const failing = follower({ apply: () => Promise.reject(new Error('SQLITE_FULL')) });
    await expect(failing.drain()).rejects.toThrow('SQLITE_FULL');
    expect(await h.redis.xlen(keys.ledger)).toBe(3);
    await failing.stop();
    await h.follower.drain();
    expect((await rows()).a?.state).toBe('sent');
  });

  test('applied and not removed is applied again, and changes nothing', async () => {
    await h.outbox.enqueue('s1', [task('a', { jobId: 'j' }), task('b', { jobId: 'j' })]);
    await h.outbox.ack('s1', [{ raw: await claim('s1'), whatsappId: null }]);
    await h.outbox.withdraw('s1', 'j');
    await h.outbox.enqueue('s1', [task('b', { jobId: 'j' })]);
    const entries = await h.redis.xrange(keys.ledger, '-', '+');
    await h.follower.drain();
    const before = await rows();
    for (const [, fields] of entries) await h.redis.xadd(keys.ledger, '*', ...fields);
    await h.follower.drain();
    expect(await rows()).toEqual(before);
    expect(before.b?.state).toBe('queued');
  });

  test('writes the row of a task once for all that a long stream tells of it, and loses no receipt', async () => {
    const ids = Array.from({ length: 2200 }, (_, each) => `t${each}`);
    await h.outbox.enqueue(
      's1',
      ids.slice(0, 500).map((id) => task(id)),
    );
    await h.outbox.enqueue(
      's1',
      ids.slice(500, 1000).map((id) => task(id)),
    );
    await h.outbox.enqueue(
      's1',
      ids.slice(1000).map((id) => task(id)),
    );
    for (let claimed = 0; claimed < ids.length; ) {
      const { body } = await h.work('s1', 'claim?timeout=0&max=50');
      const raws = (body.tasks as { raw: string }[]).map(({ raw }) => ({ raw, whatsappId: null }));
      claimed += raws.length;
      await h.outbox.ack('s1', raws);
      if (claimed === 100) {
        const whatsappId = whatsappMessageId('s1', 't7');
        await h.ledger.recordReceipt('s1', { whatsappId, status: 'delivered', atMs: 1_900_000_000_000 });
      }
    }
    const store = createTaskStore(h.database, systemClock);
    const transactions: string[][] = [];
    const watched = follower({
      apply(events) {
        transactions.push(events.map(({ taskId, type }) => `${taskId} ${type}`));
        return store.apply(events);
      },
    });
    await watched.drain();
    await watched.stop();
    expect(transactions.length).toBeGreaterThan(1);
    for (const told of transactions) expect(told.length).toBeLessThan(6100);
    expect(transactions.flat()).toEqual([
      ...ids.flatMap((id) => [`${id} queued`, `${id} claimed`, `${id} sent`]),
      'null delivered',
    ]);
    const states = Object.values(await rows()).map(({ state }) => state);
    expect(states.filter((state) => state === 'sent')).toHaveLength(2199);
    expect((await rows()).t7?.state).toBe('delivered');
  });

  test('passes over what makes no sense, and over an event that SQL refuses for good', async () => {
    await h.redis.xadd(keys.ledger, '*', 'x', 'y');
    await h.redis.xadd(keys.ledger, '*', 'e', 'explode', 's', 's1', 't', 'a', 'at', '5');
    await h.redis.xadd(keys.ledger, '*', 'e', 'sent', 's', 's1', 't', 'a', 'at', 'soon');
    await h.redis.xadd(keys.ledger, '*', 'e', 'claimed', 's', 's1', 't', 'p', 'at', '5', 'p', 'not json');
    await h.outbox.enqueue('s1', [task('a')]);
    await h.follower.drain();
    expect((await rows()).a?.state).toBe('queued');
    expect(await h.redis.xlen(keys.ledger)).toBe(0);
  });

  test('is followed by one process at a time, and by the next when that one has gone', async () => {
    const first = follower({}, 300);
    const second = follower({}, 300);
    await first.drain();
    await h.outbox.enqueue('s1', [task('a')]);
    await second.drain();
    expect((await rows()).a?.state).toBe('accepted');
    await systemClock.sleep(320); // the first says nothing any more
    await second.drain();
    expect((await rows()).a?.state).toBe('queued');
    await second.stop();
    await first.drain(); // handed over at once
    expect(await h.redis.get(keys.ledgerFollower)).not.toBe(null);
  });
});

describe('durable before the answer', () => {
  test('with SQL down nothing is queued, and the caller is told to try again', async () => {
    await h.database.db.schema.alterTable('tasks').renameTo('gone').execute();
    const answer = await h.manage('POST', '/api/sessions/s1/outbox/enqueue', task('a'));
    expect(answer.status).toBeGreaterThanOrEqual(500);
    expect(await h.redis.dbsize()).toBe(0);
    await h.database.db.schema.alterTable('gone').renameTo('tasks').execute();
    expect((await h.manage('POST', '/api/sessions/s1/outbox/enqueue', task('a'))).status).toBe(200);
  });

  test('a full disk is a 503; what is queued goes on to its end, and SQL hears of it when there is room', async () => {
    await h.outbox.enqueue('s1', [task('a')]);
    const { rows: pages } = await sql<{ page_count: number }>`pragma page_count`.execute(h.database.db);
    await sql`pragma max_page_count = ${sql.raw(String(pages[0]?.page_count))}`.execute(h.database.db);
    const big = { tasks: Array.from({ length: 50 }, (_, n) => task(`t${n}`, { text: 'x'.repeat(60_000) })) };
    const answer = await h.manage('POST', '/api/sessions/s1/outbox/enqueue', big);
    expect(answer).toMatchObject({ status: 503, body: { code: 'database_unavailable' } });
    expect(answer.headers.get('retry-after')).not.toBe(null);
    expect(await h.redis.llen(keys.outbox('s1'))).toBe(1);
    const { raw } = (await h.work('s1', 'claim?timeout=0')).body;
    expect((await h.work('s1', 'ack', { body: { raw } })).body).toMatchObject({ acked: true });
    await sql`pragma max_page_count = 1000000`.execute(h.database.db);
    await h.follower.drain();
    expect((await rows()).a?.state).toBe('sent');
    expect((await h.manage('POST', '/api/sessions/s1/outbox/enqueue', big)).status).toBe(200);
  });

  test('what was accepted and not queued is queued by a repeat of the request', async () => {
    await h.outbox.enqueue('s1', [task('a')]);
    await h.redis.flushall(); // as if the process had died between the two
    expect((await h.manage('POST', '/api/sessions/s1/outbox/enqueue', task('a'))).body).toEqual({
      status: 'ok',
      taskId: 'a',
      queued: 1,
    });
  });

  test('or by the recovery pass, in order, and woken for', async () => {
    await h.outbox.enqueue('s1', [task('a'), task('b')]);
    await h.outbox.enqueue('s2', [task('c')]);
    await h.redis.flushall();
    await systemClock.sleep(5);
    await h.hub.start();
    const polling = h.hub.claim(
      { sessionId: 's2', epoch: 0, requestId: null, max: 1, timeoutMs: 5000 },
      new AbortController().signal,
    );
    await h.follower.drain();
    expect((await polling)?.tasks[0]?.raw).toContain('"c"');
    expect(await h.redis.llen(keys.outbox('s1'))).toBe(2);
    expect(await claim('s1')).toContain('"a"');
    await h.follower.drain();
    expect((await rows()).b?.state).toBe('queued');
  });

  test('a task that is only behind in SQL is not queued twice', async () => {
    await h.outbox.enqueue('s1', [task('a')]);
    await h.outbox.ack('s1', [{ raw: await claim('s1'), whatsappId: null }]);
    await h.redis.del(keys.outboxEnded('s1'));
    await systemClock.sleep(5);
    await h.follower.drain(); // applies first, looks for stranded ones afterwards
    expect(await h.redis.exists(keys.outbox('s1'))).toBe(0);
  });
});

describe('waitingFor', () => {
  const words = (taskId: string) => h.outbox.waitingFor('s1', JSON.stringify(task(taskId)));

  test('says in words why a task has not gone out', async () => {
    expect(await words('a')).toBe('it is accepted and about to be queued');
    await h.outbox.enqueue('s1', [task('a'), task('b'), task('c')]);
    expect(await words('a')).toBe('no worker has ever asked for it');
    expect(await words('c')).toBe('no worker has ever asked for it; 2 messages are queued before it');
    const raw = await claim('s1');
    expect(await words('a')).toBe('a worker holds it and has 60 s left to send it');
    expect(await words('b')).toBe('the message before it is being sent');
    expect(await words('c')).toBe('the message before it is being sent; 1 message is queued before it');
    await h.work('s1', 'nack', { body: { raw, delayMs: 30_000 } });
    expect(await words('a')).toBe('the session pauses for another 30 s');
    h.jump(30_000);
    expect(await words('a')).toBe('it is next');
    h.jump(300_000);
    expect(await words('a')).toBe('no worker has asked for 6 min');
    await claim('s1');
    h.jump(60_000);
    expect(await words('a')).toBe(
      'the worker that held it did not finish; it is handed out again as soon as a worker asks',
    );
  });
});
