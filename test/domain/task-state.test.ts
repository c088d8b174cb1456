import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ACCEPTED,
  applyTaskEvent,
  TASK_EVENTS,
  type TaskEvent,
  type TaskEventType,
  type TaskProgress,
} from '../../src/domain/task-state.ts';

const at = (second: number): string => new Date(second * 1000).toISOString();
const story = (...types: TaskEventType[]): TaskEvent[] =>
  types.map((type, index) => ({ type, at: at(index + 1), attempts: 1, reason: `why ${index + 1}` }));
const run = (events: readonly TaskEvent[], from: TaskProgress = ACCEPTED): TaskProgress =>
  events.reduce(applyTaskEvent, from);

describe('what became of a task', () => {
  test.each<[TaskEventType[], string]>([
    [['queued'], 'queued'],
    [['queued', 'claimed'], 'claimed'],
    [['queued', 'claimed', 'requeued'], 'claimed'],
    [['queued', 'claimed', 'sent'], 'sent'],
    [['queued', 'claimed', 'sent', 'read', 'delivered'], 'read'],
    [['queued', 'claimed', 'delivered', 'sent'], 'delivered'],
    [['queued', 'claimed', 'dead'], 'failed'],
    [['queued', 'claimed', 'dead', 'sent'], 'sent'],
    [['queued', 'claimed', 'dead', 'delivered'], 'delivered'],
    [['queued', 'claimed', 'dead', 'cancelled'], 'failed'],
    [['queued', 'cancelled', 'claimed'], 'cancelled'],
    [['queued', 'cancelled', 'withdrawn'], 'cancelled'],
    [['queued', 'withdrawn'], 'accepted'],
    [['queued', 'withdrawn', 'queued'], 'queued'],
    [['queued', 'claimed', 'sent', 'withdrawn'], 'sent'],
    [['queued', 'claimed', 'dead', 'replayed'], 'queued'],
    [['queued', 'claimed', 'dead', 'replayed', 'claimed', 'sent'], 'sent'],
    [['queued', 'claimed', 'sent', 'replayed'], 'sent'],
    [['sent', 'queued', 'claimed'], 'sent'],
  ])('%j ends as %s', (types, state) => {
    expect(run(story(...types)).state).toBe(state);
  });

  test('a failure keeps its reason and its time until it is replayed', () => {
    const events = story('queued', 'claimed', 'dead', 'replayed');
    expect(run(events.slice(0, 3))).toMatchObject({ reason: 'why 3', endedAt: at(3), attempts: 1 });
    expect(run(events)).toMatchObject({ reason: null, endedAt: null, attempts: 0, queuedAt: at(4) });
  });

  test('a late ack takes the failure back', () => {
    expect(run(story('queued', 'claimed', 'dead', 'sent'))).toMatchObject({
      state: 'sent',
      reason: null,
      endedAt: null,
      sentAt: at(4),
    });
  });

  test('an event of an earlier stay in the outbox does not end the present one', () => {
    const replayed = run(story('queued', 'claimed', 'dead', 'replayed'));
    const [, , death] = story('queued', 'claimed', 'dead');
    expect(applyTaskEvent(replayed, death!)).toEqual(replayed);
  });

  test('one that was born in the outbox is moved by events of a clock that is behind', () => {
    const born: TaskProgress = { ...ACCEPTED, state: 'queued', queuedAt: at(100), bornQueued: true };
    expect(run(story('claimed', 'dead'), born)).toMatchObject({ state: 'failed', queuedAt: at(100) });
    const withdrawn = run(story('claimed', 'withdrawn'), born);
    expect(withdrawn).toMatchObject({ state: 'accepted', queuedAt: at(2), bornQueued: false });
    // From then on there are earlier stays, told by one clock.
    expect(run(story('claimed'), withdrawn)).toEqual(withdrawn);
  });

  test('applying a story again changes nothing, whatever the story', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...TASK_EVENTS), { maxLength: 12 }), (types) => {
        // The present state says everything, so the last entries may come again after a crash.
        const events = story(...types);
        const once = run(events);
        for (let from = 0; from < events.length; from++) {
          expect(run(events.slice(from), once).state).toBe(once.state);
        }
      }),
    );
  });
});
