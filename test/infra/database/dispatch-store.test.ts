import { sql } from 'kysely';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SenderChooser } from '../../../src/domain/choose-sender.ts';
import { canonicalRaw, type OutboxTask } from '../../../src/domain/task.ts';
import type { Database } from '../../../src/infra/database/database.ts';
import { createDispatchStore } from '../../../src/infra/database/dispatch-store.ts';
import { createJobStore } from '../../../src/infra/database/job-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import type { Contact } from '../../../src/protocol/messages.ts';
import { planChunk, tasksOf } from '../../../src/services/dispatch/plan.ts';
import type { Plan } from '../../../src/services/dispatch/ports.ts';
import type { JobRecord } from '../../../src/services/intake/ports.ts';
import { CONTACTS_PER_SLICE } from '../../../src/services/intake/prepare-request.ts';
import { databaseEngines } from '../../conformance/databases.ts';

const COUNT = 2500;
let database: Database;
let job: JobRecord;
async function insertJob(): Promise<JobRecord> {
  const jobs = createJobStore(database, systemClock);
  const contacts = Array.from({ length: COUNT }, (_, i) => [String(10_000_000 + i), `N${i}`] as const);
  const slices: string[] = [];
  for (let at = 0; at < COUNT; at += CONTACTS_PER_SLICE) {
    slices.push(JSON.stringify(contacts.slice(at, at + CONTACTS_PER_SLICE)));
  }
  await jobs.insert({
    id: 'j',
    idempotencyKey: null,
    digest: '',
    tenant: null,
    sessionId: null,
    message: 'x',
    mediaRef: null,
    received: COUNT,
    slices,
    notBefore: null,
    expiresAt: null,
  });
  return (await jobs.find('j')) as JobRecord;
}

const rows = async (): Promise<number> => {
  const row = await database.db
    .selectFrom('tasks')
    .select((e) => e.fn.countAll<number>().as('n'))
    .executeTakeFirst();
  return Number(row?.n);
};

async function plan(from: number): Promise<Plan> {
  const [slice] = await createDispatchStore(database, systemClock).slices('j', from);
  const contacts = (JSON.parse(slice?.contacts ?? '[]') as Contact[]).slice(from - (slice?.first ?? 0));
  return planChunk(from, contacts, new Map(), new SenderChooser([{ id: 's', load: 0 }]));
}

describe.each(databaseEngines())("the dispatcher's part of $name", (engine) => {
  describe.skipIf(engine.skip !== null)(engine.skip ?? 'store', () => {
    beforeEach(async () => {
      database = await engine.open();
      job = await insertJob();
    });
    afterEach(() => database.close());
    afterAll(() => engine.stop());

    it('lets only one of two dispatchers commit a chunk', async () => {
      const store = createDispatchStore(database, systemClock);
      const planned = await plan(0);
      const results = await Promise.all([store.prepare(job, planned)(0), store.prepare(job, planned)(0)]);
      expect(results.toSorted()).toEqual([false, true]);
      expect(await rows()).toBe(planned.contacts.length);
    });

    it.each(['paused', 'cancelled', 'done'])('commits nothing of a job that is %s', async (state) => {
      await database.db.updateTable('jobs').set({ state }).execute();
      const store = createDispatchStore(database, systemClock);
      expect(await store.prepare(job, await plan(0))(0)).toBe(false);
      expect(await store.commitExpired(job, await plan(0))).toBe(false);
      expect(await rows()).toBe(0);
    });

    it('gives the contacts from any place on, and forgets them with the last', async () => {
      const store = createDispatchStore(database, systemClock);
      expect((await plan(1234)).contacts[0]).toEqual([String(10_000_000 + 1234), 'N1234']);
      for (let from = 0; from < COUNT; ) {
        const planned = await plan(from);
        expect(await store.prepare(job, planned)(from)).toBe(true);
        from += planned.contacts.length;
      }
      expect(await store.slices('j', 0)).toEqual([]);
      // The first chunk was confirmed with the second; of it, only what went back to `accepted` is handed over again.
      await database.db.updateTable('tasks').set({ state: 'accepted' }).where('position', '=', 7).execute();
      const left = async (after: number, limit: number) => {
        const tasks = await store.accepted((await store.find('j')) as JobRecord, after, limit);
        return tasks.map(({ position }) => position);
      };
      expect(await left(-1, 3)).toEqual([7, 2000, 2001]);
      expect(await left(2001, 1000)).toEqual(Array.from({ length: 498 }, (_, i) => i + 2002));
      await store.confirm('j', COUNT);
      await store.confirm('j', 5); // late, and by somebody who has not seen more
      expect(await left(-1, 10)).toEqual([7]);
      expect((await store.stickySenders(null, ['10000007', '99999999'])).get('10000007')).toBe('s');
    });

    it('writes all of a chunk or nothing', async () => {
      const store = createDispatchStore(database, systemClock);
      await sql`alter table recipient_senders rename to elsewhere`.execute(database.db);
      try {
        await expect(store.prepare(job, await plan(0))(0)).rejects.toThrow(/recipient_senders/);
      } finally {
        await sql`alter table elsewhere rename to recipient_senders`.execute(database.db);
      }
      expect(await rows()).toBe(0);
      expect(await store.find('j')).toEqual(job);
      expect(await store.prepare(job, await plan(0))(0)).toBe(true);
    });

    it('writes tasks as queued since now, and those whose time is over as failed', async () => {
      const store = createDispatchStore(database, { ...systemClock, nowMs: () => 1_900_000_000_000 });
      const at = '2030-03-17T17:46:40.000Z';
      const { contacts, senders } = await plan(0);
      await store.prepare(job, { from: 0, contacts: contacts.slice(0, 1), senders })(0);
      await store.commitExpired(job, { from: 1, contacts: contacts.slice(1), senders });
      await store.fail('s', ['j-0'], 'session_deleted');
      const row = (position: number) =>
        database.db.selectFrom('tasks').selectAll().where('position', '=', position).executeTakeFirst();
      // It was in no outbox after all.
      expect(await row(0)).toMatchObject({ state: 'failed', reason: 'session_deleted', queued_at: null });
      expect(await row(1)).toMatchObject({
        ...{
          id: 'j-1',
          session_id: 's',
          job_id: 'j',
          recipient: '10000001',
          payload: '{"taskId":"j-1","mode":"message","to":"10000001","text":"x","jobId":"j"}',
        },
        ...{ state: 'failed', reason: 'expired', created_at: at, queued_at: null, ended_at: at, attempts: 0 },
      });
    });

    it('writes the same bytes as anybody else who enqueues the task', async () => {
      const odd: JobRecord = {
        ...job,
        message: 'Hi {{name}} "\\ \u2028',
        tenant: 'a"b',
        expiresAt: '2030-01-01T00:00:00.000Z',
      };
      const contacts: Contact[] = [
        ['972501234567', 'ש"\n{{name}}'],
        ['00972501234', 'half \ud83d'],
        ['972501234568', '\ude00 of one, \u0001 \u007f'],
      ];
      const store = createDispatchStore(database, systemClock);
      const half = { ...odd, message: '{{name}}{{name}} \ud83d' };
      for (const given of [
        odd,
        half,
        { ...job, message: 'x' },
        { ...odd, message: null, mediaRef: 'a.webp' },
      ]) {
        const planned = planChunk(0, contacts, new Map(), new SenderChooser([{ id: 's', load: 0 }]));
        expect(await store.prepare({ ...given, received: COUNT }, planned)(0)).toBe(true);
        const written = await database.db.selectFrom('tasks').selectAll().orderBy('position').execute();
        const tasks = tasksOf(given, planned).get('s') ?? [];
        expect(tasks).toHaveLength(contacts.length);
        for (const [at, { taskId, raw }] of tasks.entries()) {
          expect(JSON.parse(raw)).toMatchObject({ taskId, to: contacts[at]?.[0], jobId: 'j' });
          expect(raw).toBe(canonicalRaw(JSON.parse(raw) as OutboxTask));
          expect(written[at]).toMatchObject({ id: taskId, position: at, payload: raw });
        }
        await database.db.deleteFrom('tasks').execute();
        await database.db.updateTable('jobs').set({ expanded: 0 }).execute();
      }
    });
  });
});
