// A dispatcher that kills itself with SIGKILL at a given step: `node doomed-dispatcher.ts <json>`.

import { DEFAULT_LEASE_POLICY } from '../../src/domain/task.ts';
import { createJobWorker } from '../../src/infra/bullmq/job-worker.ts';
import { openDatabase } from '../../src/infra/database/database.ts';
import { createDispatchStore } from '../../src/infra/database/dispatch-store.ts';
import { createSessionDirectory } from '../../src/infra/database/session-directory.ts';
import { createRedis, createSubscriber } from '../../src/infra/redis/client.ts';
import { RedisOutboxStore } from '../../src/infra/redis/outbox-store.ts';
import { ScriptRunner } from '../../src/infra/redis/scripts.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { createDispatcher } from '../../src/services/dispatch/dispatcher.ts';
import type { DispatchStore, TaskSink } from '../../src/services/dispatch/ports.ts';

export interface Doom {
  redisUrl: string;
  sqlitePath: string;
  /** `commit:after:2`: at the second return of `commit`. */
  at: string;
}

const { redisUrl, sqlitePath, at } = JSON.parse(process.argv[2] ?? '{}') as Doom;
const [method = '', when = '', nth = '1'] = at.split(':');
let seen = 0;

const step = (name: string, moment: 'before' | 'after'): void => {
  if (name !== method || moment !== when) return;
  seen += 1;
  if (seen === Number(nth)) process.kill(process.pid, 'SIGKILL');
};

/** The same port; each call passes two steps. */
const doomed = <T extends object>(port: T): T =>
  new Proxy(port, {
    get(target, name, receiver) {
      const value: unknown = Reflect.get(target, name, receiver);
      if (typeof value !== 'function') return value;
      return async (...args: unknown[]) => {
        step(String(name), 'before');
        const result: unknown = await (value as (...all: unknown[]) => unknown).apply(target, args);
        step(String(name), 'after');
        return result;
      };
    },
  });

const log = silentLogger;
const database = await openDatabase({ sqlitePath });
const redis = createRedis({ url: redisUrl, name: 'doomed', log });
const outbox = new RedisOutboxStore({
  redis,
  scripts: new ScriptRunner(redis),
  leases: DEFAULT_LEASE_POLICY,
});
const sink: TaskSink = {
  async enqueue(sessionId, tasks, rows) {
    await outbox.enqueue(sessionId, tasks, rows === 'queued');
  },
};
const store = createDispatchStore(database, systemClock);
const doomedStore: DispatchStore = {
  ...doomed(store),
  prepare: (...args) => doomed({ commit: store.prepare(...args) }).commit,
};
const worker = createJobWorker({
  connection: createSubscriber({ url: redisUrl, name: 'doomed-worker', log }),
  dispatcher: createDispatcher({
    store: doomedStore,
    sessions: createSessionDirectory(database),
    depths: outbox,
    sink: doomed(sink),
    clock: systemClock,
    log,
  }),
  clock: systemClock,
  log,
  lockMs: 400,
});
await worker.start();
