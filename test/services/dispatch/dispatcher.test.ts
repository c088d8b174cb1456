import { expect, test } from 'vitest';
import { openDatabase } from '../../../src/infra/database/database.ts';
import { createDispatchStore } from '../../../src/infra/database/dispatch-store.ts';
import { createJobStore } from '../../../src/infra/database/job-store.ts';
import { createSessionDirectory } from '../../../src/infra/database/session-directory.ts';
import { systemClock } from '../../../src/kernel/clock.ts';
import { silentLogger } from '../../../src/kernel/log.ts';
import { createDispatcher } from '../../../src/services/dispatch/dispatcher.ts';
import { addSession } from '../intake/harness.ts';

test('what came back while a run was under way is handed over by the next one, at once', async () => {
  const database = await openDatabase({ sqlitePath: ':memory:' });
  await addSession(database, 's');
  await createJobStore(database, systemClock).insert({
    id: 'j',
    idempotencyKey: null,
    digest: '',
    tenant: null,
    sessionId: null,
    message: 'x',
    mediaRef: null,
    received: 2,
    slices: ['[["10000001","a"],["10000002","b"]]'],
    notBefore: null,
    expiresAt: null,
  });
  const handedOver: string[][] = [];
  const dispatcher = createDispatcher({
    store: createDispatchStore(database, systemClock),
    sessions: createSessionDirectory(database),
    depths: { depths: async () => new Map() },
    sink: {
      async enqueue(_, tasks) {
        handedOver.push(tasks.map(({ taskId }) => taskId));
        // As a pause and a resume do, one after the other.
        if (handedOver.length === 1) {
          await database.db
            .updateTable('tasks')
            .set({ state: 'accepted' })
            .where('position', '=', 0)
            .execute();
        }
      },
    },
    clock: systemClock,
    log: silentLogger,
  });
  const signal = new AbortController().signal;
  expect(await dispatcher.run('j', signal)).toEqual({ kind: 'later', delayMs: 0 });
  expect(await dispatcher.run('j', signal)).toEqual({ kind: 'finished' });
  expect(handedOver).toEqual([['j-0', 'j-1'], ['j-0']]);
  await database.close();
});
