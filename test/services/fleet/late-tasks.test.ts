import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDeletedSessions } from '../../../src/infra/redis/deleted-sessions.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { createLateTasks } from '../../../src/services/fleet/late-tasks.ts';
import { patient } from '../../patience.ts';
import { type OutboxHarness, startOutbox } from '../outbox/harness.ts';

const POLL = { timeout: patient(8000) };

let h: OutboxHarness;
let service: ReturnType<typeof createLateTasks>;
const again = new Set<string>();
beforeEach(async () => {
  // Nobody who enqueues knows of a deletion yet.
  h = await startOutbox({ options: { isDeleted: async () => false } });
  const deleted = createDeletedSessions(h.redis, systemClock);
  await deleted.add('gone');
  await deleted.add('again');
  again.add('again');
  service = createLateTasks({
    deleted,
    isDeleted: async (id) => (await deleted.has(id)) && !again.has(id),
    outbox: h.outbox,
    clock: systemClock,
    log: silentLogger,
    intervalMs: 50,
  });
});
afterEach(async () => {
  await service.stop();
  await h.stop();
});

const enqueue = async (sessionId: string, taskId: string) => {
  const task = { mode: 'message', to: '972501234567', text: 'x', taskId };
  expect((await h.manage('POST', `/api/sessions/${sessionId}/outbox/enqueue`, task)).status).toBe(200);
};
const queued = async (sessionId: string) =>
  (await h.manage('GET', `/api/sessions/${sessionId}/outbox`)).body.queued;

test('what is accepted after the deletion of its session is cancelled, also the second time', async () => {
  await enqueue('gone', 't1');
  await enqueue('again', 't2');
  await enqueue('stays', 't3');
  await service.start();
  await expect.poll(() => queued('gone'), POLL).toBe(0);
  await enqueue('gone', 't4');
  await expect.poll(() => queued('gone'), POLL).toBe(0);
  const ends = async () => {
    const rows = await h.database.db
      .selectFrom('tasks')
      .select(['id', 'state', 'reason'])
      .where('session_id', '=', 'gone')
      .orderBy('id')
      .execute();
    return rows.map(({ id, state, reason }) => [id, state, reason]);
  };
  await expect.poll(ends, POLL).toEqual([
    ['t1', 'cancelled', 'session_deleted'],
    ['t4', 'cancelled', 'session_deleted'],
  ]);
  // One of this name is there again, and one never was deleted.
  expect([await queued('again'), await queued('stays')]).toEqual([1, 1]);
});
