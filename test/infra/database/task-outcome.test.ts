import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ACCEPTED, applyTaskEvent, type TaskEvent } from '../../../src/domain/task-state.ts';
import { outcomeOf } from '../../../src/infra/database/task-event-shortcuts.ts';
import { toIso } from '../../../src/kernel/clock.ts';

const attempts = fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined });
const whatsappId = fc.option(fc.constantFrom('3EB0A', '3EB0B'), { nil: undefined });
const later = fc.record({
  type: fc.constantFrom('claimed' as const, 'sent' as const),
  after: fc.integer({ min: 0, max: 3 }),
  attempts,
  whatsappId,
});

test('the short way of a task that was never handed out before leads where its events lead', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('queued' as const, 'claimed' as const),
      attempts,
      fc.array(later, { maxLength: 6 }),
      (first, tries, rest) => {
        let ms = 1_000_000;
        const plain = (event: Record<string, unknown>): TaskEvent =>
          Object.fromEntries(Object.entries(event).filter(([, value]) => value !== undefined)) as never;
        const events = [
          plain({ type: first, at: toIso(ms), attempts: first === 'claimed' ? tries : undefined }),
          ...rest.map(({ after, ...event }) => {
            ms += after;
            return plain({ ...event, at: toIso(ms) });
          }),
        ];
        const task = events.reduce(applyTaskEvent, ACCEPTED);
        expect(outcomeOf(events)).toEqual({
          attempts: task.attempts,
          whatsappId: task.whatsappId,
          claimedAt: task.claimedAt,
          sentAt: task.sentAt,
        });
      },
    ),
    { numRuns: 2000 },
  );
});
