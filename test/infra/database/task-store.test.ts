import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { createTaskStore } from '../../../src/infra/database/task-store.ts';
import type { Clock } from '../../../src/kernel/clock.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import type { LedgerEvent, NewTask, TaskStore } from '../../../src/services/ledger/ports.ts';

let dir: string;
let database: Database;
let tasks: TaskStore;
const nowMs = Date.parse('2030-01-01T00:00:00.000Z');
const clock: Clock = { ...systemClock, nowMs: () => nowMs };

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flotilla-tasks-'));
  database = await openDatabase({ sqlitePath: join(dir, 'test.sqlite') });
  tasks = createTaskStore(database, clock);
});
beforeEach(async () => {
  await database.db.deleteFrom('tasks').execute();
});
afterAll(async () => {
  await database.close();
  await rm(dir, { recursive: true });
});

const task = (taskId: string, given: Partial<NewTask> = {}): NewTask => ({
  taskId,
  sessionId: 's1',
  raw: `{"taskId":"${taskId}"}`,
  jobId: null,
  recipient: '972501234567',
  mediaRef: null,
  ...given,
});
const at = (second: number): string => new Date(nowMs + second * 1000).toISOString();
const event = (
  type: LedgerEvent['type'],
  taskId: string | null,
  second: number,
  given: Partial<LedgerEvent> = {},
) => ({ type, taskId, sessionId: 's1', at: at(second), ...given }) as LedgerEvent;
const row = (id: string, sessionId = 's1') =>
  database.db
    .selectFrom('tasks')
    .selectAll()
    .where('id', '=', id)
    .where('session_id', '=', sessionId)
    .executeTakeFirst();

test('accepts in order; a repeat is told from what has ended', async () => {
  expect(await tasks.accept([task('a'), task('b'), task('a')])).toEqual(['open', 'open', 'open']);
  await tasks.apply([event('sent', 'a', 1)]);
  expect(await tasks.accept([task('c'), task('a'), task('b')])).toEqual(['open', 'ended', 'open']);
  expect(await tasks.accept([task('a', { sessionId: 's2' })])).toEqual(['open']);
  expect(await row('b')).toMatchObject({ state: 'accepted', payload: '{"taskId":"b"}', attempts: 0 });
  const order = await database.db.selectFrom('tasks').select('id').orderBy('position').execute();
  expect(order.map(({ id }) => id)).toEqual(['a', 'b', 'c', 'a']);
});

test('takes text of any kind through', async () => {
  const raw = JSON.stringify({ taskId: 'a', text: 'שלום "\\\' \u0000 😀 \ud800' });
  await tasks.accept([task('a', { raw, recipient: `o'hara"` })]);
  expect(await row('a')).toMatchObject({ payload: raw, recipient: `o'hara"` });
});

test('moves a task through its story', async () => {
  await tasks.accept([task('a')]);
  await tasks.apply([
    event('queued', 'a', 1),
    event('claimed', 'a', 2, { attempts: 1, whatsappId: '3EB0A' }),
    event('requeued', 'a', 3, { attempts: 1, reason: 'timeout' }),
  ]);
  expect(await row('a')).toMatchObject({
    state: 'claimed',
    queued_at: at(1),
    claimed_at: at(2),
    attempts: 1,
    reason: 'timeout',
    whatsapp_id: '3EB0A',
  });
  await tasks.apply([event('claimed', 'a', 4, { attempts: 2 }), event('sent', 'a', 5, { attempts: 2 })]);
  await tasks.apply([event('read', 'a', 7), event('delivered', 'a', 6)]);
  expect(await row('a')).toMatchObject({
    state: 'read',
    sent_at: at(5),
    read_at: at(7),
    attempts: 2,
    reason: null,
    ended_at: null,
  });
});

test('a receipt finds its task by WhatsApp’s id, also within the batch of its claim', async () => {
  await tasks.accept([task('a'), task('b')]);
  await tasks.apply([event('claimed', 'a', 1, { whatsappId: 'WA' })]);
  await tasks.apply([
    event('delivered', null, 3, { whatsappId: 'WA' }),
    event('delivered', null, 3, { whatsappId: 'unknown' }),
    event('delivered', null, 3),
    event('claimed', 'b', 2, { whatsappId: 'WB' }),
    event('read', null, 4, { whatsappId: 'WB' }),
  ]);
  expect(await row('a')).toMatchObject({ state: 'delivered', whatsapp_id: 'WA', delivered_at: at(3) });
  expect(await row('b')).toMatchObject({ state: 'read', read_at: at(4), sent_at: at(4) });
});

test('an unknown task makes a row if it brings its payload', async () => {
  const payload = '{ "taskId": "x", "to": "972501234567", "jobId": "j", "mediaRef": 5 }';
  await tasks.apply([
    event('claimed', 'x', 1, { payload, attempts: 1 }),
    event('sent', 'x', 2),
    event('sent', 'nobody', 2),
  ]);
  expect(await row('x')).toMatchObject({
    state: 'sent',
    payload,
    recipient: '972501234567',
    job_id: 'j',
    media_ref: null,
  });
  expect(await row('nobody')).toBe(undefined);
});

test('two thousand events are one quick transaction', async () => {
  const ids = Array.from({ length: 700 }, (_, index) => `t${index}`);
  await tasks.accept(ids.map((id) => task(id)));
  await tasks.apply(
    (['queued', 'claimed', 'sent'] as const).flatMap((type, index) =>
      ids.map((id) => event(type, id, index)),
    ),
  );
  const { count } = await database.db
    .selectFrom('tasks')
    .select((e) => e.fn.countAll<number>().as('count'))
    .where('state', '=', 'sent')
    .executeTakeFirstOrThrow();
  expect(count).toBe(700);
});

test('finds what was accepted and never queued, in order, but not what a job looks after', async () => {
  await tasks.accept([task('a'), task('b'), task('c', { jobId: 'job' }), task('d', { jobId: 'foreign' })]);
  await database.db
    .insertInto('jobs')
    .values({
      id: 'job',
      digest: '',
      received: 1,
      expanded: 0,
      state: 'paused',
      created_at: at(0),
      updated_at: at(0),
    })
    .execute();
  await tasks.apply([event('queued', 'b', 0)]);
  expect(await tasks.stranded(at(0), 10)).toEqual([]);
  expect((await tasks.stranded(at(1), 10)).map(({ taskId }) => taskId)).toEqual(['a', 'd']);
  expect((await tasks.stranded(at(1), 1)).length).toBe(1);
  await database.db.deleteFrom('jobs').execute();
});
