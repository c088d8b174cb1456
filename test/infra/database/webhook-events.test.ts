import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Database } from '../../../src/infra/database/database.ts';
import { createDispatchStore } from '../../../src/infra/database/dispatch-store.ts';
import { createEventStore } from '../../../src/infra/database/event-store.ts';
import { createJobStore } from '../../../src/infra/database/job-store.ts';
import { createJobTaskStore } from '../../../src/infra/database/job-task-store.ts';
import { createRetentionStore } from '../../../src/infra/database/retention-store.ts';
import { createSessionStore } from '../../../src/infra/database/session-store.ts';
import { createTaskStore } from '../../../src/infra/database/task-store.ts';
import { createWebhookStore } from '../../../src/infra/database/webhook-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import type { LedgerEvent } from '../../../src/services/ledger/ports.ts';
import type { WebhookStore } from '../../../src/services/webhooks/ports.ts';
import { databaseEngines } from '../../conformance/databases.ts';
import { sessionRow } from '../../services/restoration/harness.ts';

const at = (second: number): string => new Date(1_900_000_000_000 + second * 1000).toISOString();
const event = (type: LedgerEvent['type'], taskId: string, second: number): LedgerEvent => ({
  type,
  taskId,
  sessionId: 's',
  at: at(second),
});

describe.each(databaseEngines())('webhook events in $name', (engine) => {
  describe.skipIf(engine.skip !== null)(engine.skip ?? 'store', () => {
    let database: Database;
    let webhooks: WebhookStore;
    beforeEach(async () => {
      database = await engine.open();
      webhooks = createWebhookStore(database);
      await database.db.deleteFrom('webhook_events').execute();
      const row = sessionRow('s', 0, null, at(0));
      await database.db
        .insertInto('sessions')
        .values([
          { ...row, webhook_url: 'http://example.com' },
          { ...row, id: 'quiet' },
          { ...row, id: 'gone', webhook_url: 'http://example.com', desired: 'deleted' },
        ])
        .execute();
    });
    afterAll(() => engine.stop());
    afterEach(() => database.close());

    const told = async () => {
      const rows = await database.db.selectFrom('webhook_events').selectAll().orderBy('seq').execute();
      return rows.map(({ type, data }) => {
        const { taskId, status, reason, id, to } = JSON.parse(data) as Record<string, unknown>;
        return type === 'message.status' ? [taskId, status, reason ?? null] : [type, id ?? to];
      });
    };
    const accept = (sessionId: string, ...taskIds: string[]) =>
      createTaskStore(database, systemClock).accept(
        taskIds.map((taskId) => ({
          taskId,
          sessionId,
          jobId: 'j',
          recipient: '972501234567',
          mediaRef: null,
          raw: '{}',
        })),
      );

    test('each new step of a task once, however the ledger says it', async () => {
      let calls = 0;
      const tasks = createTaskStore(database, systemClock, () => {
        calls += 1;
      });
      await accept('s', 'a', 'b');
      await tasks.apply([event('queued', 'a', 1), event('queued', 'b', 1), event('claimed', 'a', 2)]);
      expect([calls, await told()]).toEqual([0, []]);
      const batch = [event('sent', 'a', 3), event('delivered', 'a', 4), event('dead', 'b', 5)];
      await tasks.apply(batch);
      await tasks.apply(batch);
      // It was sent after all, and the dead one is tried again, and fails again.
      await tasks.apply([event('replayed', 'b', 6), event('dead', 'b', 7), event('read', 'a', 8)]);
      await tasks.apply([event('dead', 'a', 9), event('cancelled', 'a', 9)]);
      expect(await told()).toEqual([
        ['a', 'sent', null],
        ['a', 'delivered', null],
        ['b', 'failed', null],
        ['b', 'failed', null],
        ['a', 'read', null],
      ]);
      expect(calls).toBe(2);
    });

    test('tasks that end without an outbox', async () => {
      await accept('s', 'a', 'b', 'c');
      await accept('quiet', 'q');
      const jobTasks = createJobTaskStore(database, systemClock);
      const dispatch = createDispatchStore(database, systemClock);
      await jobTasks.cancel('s', ['a']);
      await jobTasks.cancel('s', ['a']);
      await jobTasks.cancel('quiet', ['q']);
      await dispatch.fail('s', ['b'], 'no such session');
      const jobs = createJobStore(database, systemClock);
      await jobs.insert({
        id: 'j',
        idempotencyKey: null,
        digest: '',
        tenant: null,
        sessionId: null,
        message: 'x',
        mediaRef: null,
        received: 2,
        slices: ['[["1","N"],["2","N"]]'],
        notBefore: null,
        expiresAt: null,
      });
      const job = (await jobs.find('j'))!;
      const contacts = [['972501234567', 'N'] as const, ['972501234567', 'N'] as const];
      await dispatch.commitExpired(job, { from: 0, contacts, senders: ['s', 'quiet'] });
      expect(await told()).toEqual([
        ['a', 'cancelled', 'cancelled'],
        ['b', 'failed', 'no such session'],
        ['j-0', 'failed', 'expired'],
      ]);
    });

    test('events of the log, of sessions that have a webhook', async () => {
      const log = createEventStore(database);
      const message = { type: 'message.received', data: { id: 'm' } };
      await log.append(
        [
          { ...message, sessionId: 's' },
          { ...message, sessionId: 'quiet' },
          { ...message, sessionId: 'gone' },
          { type: 'session.wish', sessionId: 's', data: { wish: 'start' } },
          { type: 'session.state', sessionId: 's', data: { from: 'pairing', to: 'connected' } },
          { type: 'proxy.bad', data: {} },
        ],
        at(1),
      );
      expect(await told()).toEqual([
        ['message', 'm'],
        ['session.state', 'connected'],
      ]);
    });

    test('the queue of a session: in order, past what is parked, within its bounds, gone with it', async () => {
      const log = createEventStore(database);
      const record = (n: number) =>
        log.append([{ type: 'message.received', sessionId: 's', data: { id: `${n}` } }], at(n));
      for (let n = 0; n < 6; n += 1) await record(n);
      const newest = await webhooks.newest();
      const head = async () => (await webhooks.next('s')).event?.subject;
      expect(await webhooks.since(newest)).toEqual({ sessionIds: [], seq: newest });
      expect(await webhooks.since(newest - 2)).toEqual({ sessionIds: ['s'], seq: newest });
      const first = (await webhooks.next('s')).event!;
      expect(first).toMatchObject({ subject: '0', at: at(0), attempts: 0, data: { id: '0' } });
      await webhooks.failed(first.seq, 1, 'why', at(60));
      expect(await webhooks.heads()).toEqual([{ sessionId: 's', notBefore: at(60) }]);
      await webhooks.park(first.seq, 2, 'refused', at(61));
      expect([await head(), await webhooks.parkOld('s', at(2), 'late', at(62)), await head()]).toEqual([
        '1',
        2,
        '3',
      ]);
      expect(await webhooks.bound('s', 2, 'many', at(63))).toBe(1);
      await webhooks.rest('s', at(70));
      expect(await webhooks.heads()).toEqual([{ sessionId: 's', notBefore: at(70) }]);
      expect(await webhooks.queue('s')).toMatchObject({ waiting: 2, dead: 2, head: { notBefore: at(70) } });
      expect((await webhooks.dead('s', null, 10)).map(({ subject, reason }) => [subject, reason])).toEqual([
        ['3', 'many'],
        ['2', 'late'],
      ]);
      expect(await webhooks.revive('s', at(64))).toBe(2);
      expect([await head(), await webhooks.totals()]).toEqual(['2', { waiting: 4, dead: 0 }]);
      await webhooks.delivered([(await webhooks.next('s')).event!.seq]);
      expect(await head()).toBe('3');

      const retention = createRetentionStore(database.db);
      await webhooks.park((await webhooks.next('s')).event!.seq, 1, 'refused', at(65));
      expect(await retention.deleteEnded('webhooks', at(65), 10)).toBe(0);
      expect(await retention.deleteEnded('webhooks', at(66), 10)).toBe(1);
      await createSessionStore(database).erase('s');
      expect(await webhooks.totals()).toEqual({ waiting: 0, dead: 0 });
      expect(await webhooks.queue('s')).toBeNull();
    });
  });
});
