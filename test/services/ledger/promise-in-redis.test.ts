import { afterEach, beforeEach, expect, test } from 'vitest';
import { type OutboxHarness, startOutbox } from '../outbox/harness.ts';

let h: OutboxHarness;
beforeEach(async () => {
  h = await startOutbox({ idle: true, options: { promise: 'redis', strandedAfterMs: 0 } });
});
afterEach(() => h.stop());

const task = (taskId: string) => ({
  taskId,
  mode: 'message',
  to: '972501234567',
  text: 'hi',
  jobId: 'theirs',
});
const rows = () =>
  h.database.db.selectFrom('tasks').selectAll().orderBy('created_at').orderBy('position').execute();

test('with the promise in Redis, SQL need not be there for the answer, and knows the whole story a moment later', async () => {
  await h.database.db.schema.alterTable('tasks').renameTo('gone').execute();
  const tasks = ['b', 'a', 'c'].map(task);
  const answer = await h.manage('POST', '/api/sessions/s1/outbox/enqueue', { tasks });
  expect(answer).toMatchObject({ status: 200, body: { queued: 3 } });
  const { raw } = (await h.work('s1', 'claim?timeout=0')).body;
  await h.work('s1', 'ack', { body: { raw } });
  await expect(h.follower.drain()).rejects.toThrow();
  await h.database.db.schema.alterTable('gone').renameTo('tasks').execute();
  await h.follower.drain();
  expect((await rows()).map(({ id, state, job_id }) => [id, state, job_id])).toEqual([
    ['b', 'sent', 'theirs'],
    ['a', 'queued', 'theirs'],
    ['c', 'queued', 'theirs'],
  ]);
  expect((await rows())[0]).toMatchObject({
    payload: raw,
    recipient: '972501234567',
    attempts: 1,
    reason: null,
  });
});

test('a repeat is still one task', async () => {
  await h.manage('POST', '/api/sessions/s1/outbox/enqueue', task('a'));
  const again = await h.manage('POST', '/api/sessions/s1/outbox/enqueue', task('a'));
  expect(again.body).toMatchObject({ duplicate: true, queued: 1 });
  await h.follower.drain();
  expect(await rows()).toHaveLength(1);
});
