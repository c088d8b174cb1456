import type { LeasePolicy } from '../domain/task.ts';
import type { Database } from '../infra/database/database.ts';
import { createDelayStore } from '../infra/database/delay-store.ts';
import { createPromiseStore } from '../infra/database/promise-store.ts';
import { createTaskStore } from '../infra/database/task-store.ts';
import type { createRedis } from '../infra/redis/client.ts';
import { RedisLedgerStream } from '../infra/redis/ledger-stream.ts';
import { MemoryGuard } from '../infra/redis/memory-guard.ts';
import { RedisOutboxStore } from '../infra/redis/outbox-store.ts';
import { RedisWakeUps } from '../infra/redis/outbox-wakeups.ts';
import { createRestorableOutboxes } from '../infra/redis/restorable-outboxes.ts';
import type { ScriptRunner } from '../infra/redis/scripts.ts';
import type { Clock } from '../kernel/clock.ts';
import type { Service } from '../kernel/lifecycle.ts';
import type { Logger } from '../kernel/log.ts';
import { LedgerFollower } from '../services/ledger/ledger-follower.ts';
import { TaskLedger } from '../services/ledger/task-ledger.ts';
import { ClaimHub } from '../services/outbox/claim-hub.ts';
import { Outbox } from '../services/outbox/outbox.ts';
import { OutboxRestoration } from '../services/restoration/outbox-restoration.ts';
import type { RestorablePart } from '../services/restoration/ports.ts';
import type { RouteModule } from './http/route.ts';
import { outboxRoutes } from './http/routes/outbox.ts';
import { workerOutboxRoutes } from './http/routes/worker-outbox.ts';

export interface OutboxOptions {
  /** For commands. */
  redis: ReturnType<typeof createRedis>;
  /** A connection that only listens. */
  subscriber: ReturnType<typeof createRedis>;
  scripts: ScriptRunner;
  database: Database;
  leases: LeasePolicy;
  /** How long, and how many per session, ids of ended tasks are kept in Redis. */
  endedIds?: { forMs: number; count: number };
  /** Where a task that is enqueued directly has to be before the answer; SQL if not said. */
  promise?: 'sql' | 'redis';
  /** Whether a session is known as deleted; asked for each enqueue. */
  isDeleted(sessionId: string): Promise<boolean>;
  /** Webhooks have something to tell about tasks. */
  onTold?: () => void;
  clock: Clock;
  log: Logger;
  /** Only tests, which jump over leases, give one. */
  timeOffsetMs?: () => number;
  sweepMs?: number;
  strandedAfterMs?: number;
  /** Names this process's data directory: a later process there carries on at once what this one leads. */
  place?: string;
}

export interface OutboxParts {
  outbox: Outbox;
  hub: ClaimHub;
  ledger: TaskLedger;
  follower: LedgerFollower;
  routes: RouteModule[];
  /** Puts tasks without an end back. */
  restoration(stillLeads: () => Promise<boolean>): RestorablePart;
  /** The hub, the ledger follower and the look for room in Redis. Stopping answers all waiting polls. */
  service: Service;
}

/** Everything between an accepted task and the worker that sends it. */
export function composeOutbox(options: OutboxOptions): OutboxParts {
  const { redis, subscriber, scripts, clock, log, timeOffsetMs, strandedAfterMs } = options;
  const store = new RedisOutboxStore({
    redis,
    scripts,
    leases: options.leases,
    ...(options.endedIds && { endedForMs: options.endedIds.forMs, endedCount: options.endedIds.count }),
    ...(timeOffsetMs ? { timeOffsetMs } : {}),
  });
  const wakeUps = new RedisWakeUps({ redis, subscriber, log });
  const { place } = options;
  const stream = new RedisLedgerStream({ redis, scripts, ...(place === undefined ? {} : { place }) });
  const tasks = createTaskStore(options.database, clock, options.onTold);
  const ledger = new TaskLedger({ tasks, stream, clock, promise: options.promise ?? 'sql' });
  const delays = createDelayStore(options.database, clock);
  const room = new MemoryGuard({ redis, clock, log });
  const outbox = new Outbox({
    store,
    ledger,
    room,
    sessions: { isDeleted: options.isDeleted },
    wakeUps,
    delays,
    clock,
    log,
  });
  const hub = new ClaimHub({
    store,
    wakeUps,
    clock,
    log,
    ...(options.sweepMs === undefined ? {} : { sweepMs: options.sweepMs }),
  });
  const follower = new LedgerFollower({
    stream,
    tasks,
    push: (sessionId, stranded) => outbox.push(sessionId, stranded),
    clock,
    log,
    ...(strandedAfterMs === undefined ? {} : { strandedAfterMs }),
  });
  return {
    outbox,
    hub,
    ledger,
    follower,
    restoration: (stillLeads) =>
      new OutboxRestoration({
        promises: createPromiseStore(options.database),
        outboxes: createRestorableOutboxes({ redis, scripts, store }),
        delays,
        stillLeads,
      }),
    routes: [outboxRoutes({ outbox }), workerOutboxRoutes({ outbox, hub, clock })],
    service: {
      async start() {
        await room.start();
        await hub.start();
        await follower.start();
      },
      async stop() {
        await hub.stop();
        await follower.stop();
        await room.stop();
      },
    },
  };
}
