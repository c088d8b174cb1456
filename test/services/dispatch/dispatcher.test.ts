import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Database, openDatabase } from '../../../src/infra/database/database.ts';
import { createDispatchStore } from '../../../src/infra/database/dispatch-store.ts';
import { createJobStore } from '../../../src/infra/database/job-store.ts';
import { createSessionDirectory } from '../../../src/infra/database/session-directory.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { createDispatcher, type DispatcherDependencies } from '../../../src/services/dispatch/dispatcher.ts';
import type { DispatchStore } from '../../../src/services/dispatch/ports.ts';
import { addSession } from '../intake/harness.ts';

let database: Database;
let store: DispatchStore;
const signal = new AbortController().signal;
beforeEach(async () => {
  database = await openDatabase({ sqlitePath: ':memory:' });
  store = createDispatchStore(database, systemClock);
});
afterEach(() => database.close());

async function addJob(phones: readonly string[]): Promise<void> {
  const contacts = phones.map((phone) => [phone, 'a']);
  const slices: string[] = [];
  for (let at = 0; at < phones.length; at += 500) slices.push(JSON.stringify(contacts.slice(at, at + 500)));
  await createJobStore(database, systemClock).insert({
    id: 'j',
    idempotencyKey: null,
    digest: '',
    tenant: null,
    sessionId: null,
    message: 'x',
    mediaRef: null,
    received: phones.length,
    slices,
    notBefore: null,
    expiresAt: null,
  });
}
const phones = (count: number) => Array.from({ length: count }, (_, i) => String(10_000_000 + i));

interface Arrival {
  sessionId: string;
  positions: number[];
  rows: 'queued' | 'unsure';
}

/** A dispatcher, and what has reached the outboxes; `enqueue` is called before it has. */
function dispatcherInto(
  enqueue: (arrival: Arrival) => Promise<void> = async () => undefined,
  given: Partial<DispatcherDependencies> = {},
) {
  const arrived: Arrival[] = [];
  const dispatcher = createDispatcher({
    store,
    sessions: createSessionDirectory(database),
    depths: { depths: async () => new Map() },
    sink: {
      async enqueue(sessionId, tasks, rows) {
        const positions = tasks.map(({ taskId }) => Number(taskId.slice('j-'.length)));
        await enqueue({ sessionId, positions, rows });
        arrived.push({ sessionId, positions, rows });
      },
    },
    clock: systemClock,
    log: silentLogger,
    ...given,
  });
  return { dispatcher, arrived };
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

test('what came back while a run was under way is handed over by the next one, at once', async () => {
  await addSession(database, 's');
  await addJob(['10000001', '10000002']);
  let enqueued = 0;
  const { dispatcher, arrived } = dispatcherInto(async () => {
    // As a pause and a resume do, one after the other.
    if (++enqueued > 1) return;
    await database.db.updateTable('tasks').set({ state: 'accepted' }).where('position', '=', 0).execute();
  });
  expect(await dispatcher.run('j', signal)).toEqual({ kind: 'later', delayMs: 0 });
  expect(await dispatcher.run('j', signal)).toEqual({ kind: 'finished' });
  expect(arrived).toEqual([
    { sessionId: 's', positions: [0, 1], rows: 'queued' },
    { sessionId: 's', positions: [0], rows: 'unsure' },
  ]);
});

test('a chunk sets out when the one before has arrived', async () => {
  await addSession(database, 's');
  await addJob(phones(4200));
  let under = 0;
  const { dispatcher, arrived } = dispatcherInto(async () => {
    expect(++under).toBe(1);
    await systemClock.sleep(20);
    under -= 1;
  });
  expect(await dispatcher.run('j', signal)).toEqual({ kind: 'finished' });
  expect(arrived.length).toBeGreaterThan(2);
  expect(arrived.flatMap(({ positions }) => positions)).toEqual(upTo(4200));
});

test('what did not arrive is handed over by the next run, before anything else', async () => {
  await addSession(database, 's');
  await addJob(phones(4200));
  let calls = 0;
  const { dispatcher, arrived } = dispatcherInto(async () => {
    if (++calls === 2) throw new Error('Redis has gone');
  });
  await expect(dispatcher.run('j', signal)).rejects.toThrow('Redis has gone');
  expect(arrived).toHaveLength(1);
  expect(await dispatcher.run('j', signal)).toEqual({ kind: 'finished' });
  const known = new Set<number>();
  const fresh = arrived.flatMap(({ positions }) => positions).filter((at) => !known.has(at) && known.add(at));
  expect(fresh).toEqual(upTo(4200));
  expect(arrived[1]).toMatchObject({ rows: 'unsure' });
});

test('nothing is handed over of a chunk that somebody else has written, nor of those behind it', async () => {
  await addSession(database, 's');
  await addJob(phones(4200));
  let commits = 0;
  let interrupted = '';
  const { dispatcher, arrived } = dispatcherInto(undefined, {
    store: {
      ...store,
      prepare: (...args) => {
        const commit = store.prepare(...args);
        return async (handedOver) => {
          if (++commits === 2) await database.db.updateTable('jobs').set({ state: 'paused' }).execute();
          return commit(handedOver);
        };
      },
    },
    onInterrupted: async (jobId) => {
      interrupted = jobId;
    },
  });
  expect(await dispatcher.run('j', signal)).toEqual({ kind: 'finished' });
  expect(interrupted).toBe('j');
  const { expanded } = (await store.find('j')) ?? { expanded: -1 };
  expect(expanded).toBeLessThan(4200);
  expect(arrived.flatMap(({ positions }) => positions)).toEqual(upTo(expanded));
});

test('a run that fails ends when nothing of it is being written any more', async () => {
  await addSession(database, 's');
  await addJob(phones(4200));
  let writing = 0;
  let begun = 0;
  let broken = true;
  const { dispatcher, arrived } = dispatcherInto(
    async () => {
      if (broken) throw new Error('Redis has gone');
    },
    {
      store: {
        ...store,
        prepare: (...args) => {
          const commit = store.prepare(...args);
          return async (handedOver) => {
            writing += 1;
            begun += 1;
            await systemClock.sleep(30);
            return commit(handedOver).finally(() => {
              writing -= 1;
            });
          };
        },
      },
    },
  );
  await expect(dispatcher.run('j', signal)).rejects.toThrow('Redis has gone');
  expect(writing).toBe(0);
  // The next one was under way when the first could not be handed over; otherwise this test would show nothing.
  expect(begun).toBeGreaterThan(1);
  broken = false;
  expect(await dispatcher.run('j', signal)).toEqual({ kind: 'finished' });
  expect(arrived.flatMap(({ positions }) => positions)).toEqual(upTo(4200));
});

test('a recipient who comes again is known, also while the database does not say so yet', async () => {
  for (const id of ['s1', 's2', 's3']) await addSession(database, id);
  const often = Array.from({ length: 4200 }, (_, i) => String(10_000_000 + (i % 500)));
  await addJob(often);
  // Whatever is asked while a chunk is planned is as old as it can be.
  const { dispatcher, arrived } = dispatcherInto(undefined, {
    store: { ...store, stickySenders: async () => new Map() },
  });
  await dispatcher.run('j', signal);
  const senders = new Map<string, Set<string>>();
  for (const { sessionId, positions } of arrived) {
    for (const at of positions) {
      const phone = often[at] ?? '';
      senders.set(phone, (senders.get(phone) ?? new Set()).add(sessionId));
    }
  }
  expect(senders.size).toBe(500);
  for (const sessions of senders.values()) expect(sessions.size).toBe(1);
});

test('a job that nobody can send is looked at ever less often, the longer it waits', async () => {
  await addJob(phones(1));
  const since = systemClock.nowMs();
  const lookedAgain = async (laterMs: number) => {
    const clock = { ...systemClock, nowMs: () => since + laterMs };
    return await dispatcherInto(undefined, { clock }).dispatcher.run('j', signal);
  };
  expect(await lookedAgain(0)).toEqual({ kind: 'later', delayMs: 30_000 });
  expect(await lookedAgain(60_000)).toEqual({ kind: 'later', delayMs: 30_000 });
  const later = await lookedAgain(1_200_000);
  expect(later.kind === 'later' && Math.round(later.delayMs / 1000)).toBe(300);
  expect(await lookedAgain(86_400_000)).toEqual({ kind: 'later', delayMs: 600_000 });
});
