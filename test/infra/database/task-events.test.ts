import fc from 'fast-check';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ACCEPTED, applyTaskEvent, TASK_EVENTS, type TaskProgress } from '../../../src/domain/task-state.ts';
import type { Database } from '../../../src/infra/database/database.ts';
import { toProgress } from '../../../src/infra/database/task-rows.ts';
import { createTaskStore } from '../../../src/infra/database/task-store.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import type { LedgerEvent } from '../../../src/services/ledger/ports.ts';
import { databaseEngines } from '../../conformance/databases.ts';

const IDS = ['a', 'b', 'c', 'd'];
const at = (second: number): string => new Date(1_900_000_000_000 + second * 1000).toISOString();

/** Mostly the usual order of things, and anything else in between. */
const story = fc
  .array(
    fc.record({
      taskId: fc.constantFrom(...IDS),
      type: fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom('queued', 'claimed', 'sent') },
        { weight: 1, arbitrary: fc.constantFrom(...TASK_EVENTS) },
      ),
      // A clock that stands still for a while, and is set back now and then.
      step: fc.oneof(
        { weight: 5, arbitrary: fc.nat(2) },
        { weight: 1, arbitrary: fc.integer({ min: -3, max: 0 }) },
      ),
      attempts: fc.option(fc.nat(3), { nil: undefined }),
      cut: fc.nat(3),
    }),
    { maxLength: 24 },
  )
  .map((steps) => {
    let second = 10;
    return steps.map(({ taskId, type, step, attempts, cut }) => {
      second += step;
      const event: LedgerEvent = { taskId, type, sessionId: 's', at: at(second) };
      if (attempts !== undefined) event.attempts = attempts;
      if (type === 'claimed' || type === 'sent') event.whatsappId = `WA-${taskId}`;
      if (type === 'requeued' || type === 'dead') event.reason = 'why';
      return { event, cut: cut === 0 };
    });
  });

describe.each(databaseEngines())('what became of tasks, on $name', (engine) => {
  describe.skipIf(engine.skip !== null)(engine.skip ?? 'store', () => {
    let database: Database;
    beforeEach(async () => {
      database = await engine.open();
    });
    afterAll(() => engine.stop());
    afterEach(() => database.close());

    test('is the same however the events are cut into batches', async () => {
      const tasks = createTaskStore(database, systemClock);
      // As a job's tasks are, by a clock that is ahead of that of the events.
      const ahead = at(15.25);
      const run = async (
        events: { event: LedgerEvent; cut: boolean }[],
        born: 'accepted' | 'queued' | 'queued ahead',
      ) => {
        await database.db.deleteFrom('tasks').execute();
        const state = born === 'accepted' ? born : 'queued';
        const bornQueued = born === 'queued ahead';
        const start: TaskProgress = {
          ...ACCEPTED,
          state,
          bornQueued,
          queuedAt: bornQueued ? ahead : null,
        };
        await database.db
          .insertInto('tasks')
          .values(
            IDS.map((id) => ({
              id,
              session_id: 's',
              position: 0,
              state,
              payload: '{}',
              attempts: 0,
              created_at: ahead,
              queued_at: start.queuedAt,
            })),
          )
          .execute();
        let batch: LedgerEvent[] = [];
        for (const [index, { event, cut }] of events.entries()) {
          batch.push(event);
          if (!cut && index < events.length - 1) continue;
          await tasks.apply(batch);
          batch = [];
        }
        const expected = new Map(IDS.map((id) => [id, start]));
        for (const { event } of events) {
          const id = event.taskId ?? '';
          expected.set(id, applyTaskEvent(expected.get(id) ?? start, event));
        }
        const rows = await database.db.selectFrom('tasks').selectAll().execute();
        expect(new Map(rows.map((row) => [row.id, toProgress(row)]))).toEqual(expected);
      };
      await fc.assert(fc.asyncProperty(story, fc.constantFrom('accepted', 'queued', 'queued ahead'), run), {
        numRuns: engine.name === 'SQLite' ? 400 : 60,
      });
    });
  });
});
