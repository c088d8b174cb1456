import { createJobWorker } from '../infra/bullmq/job-worker.ts';
import type { Database } from '../infra/database/database.ts';
import { createDispatchStore } from '../infra/database/dispatch-store.ts';
import { createSessionDirectory } from '../infra/database/session-directory.ts';
import { createSubscriber } from '../infra/redis/client.ts';
import type { Clock } from '../kernel/clock.ts';
import type { Service } from '../kernel/lifecycle.ts';
import type { Logger } from '../kernel/log.ts';
import { createDispatcher } from '../services/dispatch/dispatcher.ts';
import type { OutboxDepths, TaskSink } from '../services/dispatch/ports.ts';

export interface DispatcherServiceOptions {
  redisUrl: string;
  database: Database;
  depths: OutboxDepths;
  /** The outbox in this process, or the one behind the HTTP endpoint. */
  sink: TaskSink;
  clock: Clock;
  log: Logger;
  onInterrupted?(jobId: string): Promise<void>;
}

/** The dispatcher with its queue, for the orchestrator that runs it inline and for the process of its own. */
export function createDispatcherService(options: DispatcherServiceOptions): Service {
  const { redisUrl, database, depths, sink, clock, log, onInterrupted } = options;
  let stop: (() => Promise<void>) | undefined;
  return {
    async start() {
      if (stop) return;
      // Waits in one long command: a client with a command time-out would cut it off.
      const connection = createSubscriber({ url: redisUrl, name: 'dispatcher', log });
      const dispatcher = createDispatcher({
        store: createDispatchStore(database, clock),
        sessions: createSessionDirectory(database),
        depths,
        sink,
        clock,
        log,
        ...(onInterrupted ? { onInterrupted } : {}),
      });
      const worker = createJobWorker({ connection, dispatcher, clock, log });
      stop = async () => {
        await worker.stop();
        connection.disconnect();
      };
      await worker.start();
    },
    async stop() {
      const stopping = stop;
      stop = undefined;
      await stopping?.();
    },
  };
}
