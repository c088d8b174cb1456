import { createDispatcherService } from '../dispatcher/dispatcher-service.ts';
import { createJobQueue } from '../infra/bullmq/job-queue.ts';
import type { Database } from '../infra/database/database.ts';
import { createJobStore } from '../infra/database/job-store.ts';
import { createJobTaskStore } from '../infra/database/job-task-store.ts';
import { createMediaReferences } from '../infra/database/media-references.ts';
import { createSessionDirectory } from '../infra/database/session-directory.ts';
import { createTaskQueries } from '../infra/database/task-queries.ts';
import { createFileMediaStore } from '../infra/media/file-media-store.ts';
import { recogniseImage } from '../infra/media/image-type.ts';
import type { createRedis } from '../infra/redis/client.ts';
import { redisIncarnation } from '../infra/redis/incarnation.ts';
import { createRequestThread } from '../infra/request-thread/request-reader.ts';
import type { Clock } from '../kernel/clock.ts';
import { Loop, type Service } from '../kernel/lifecycle.ts';
import type { Logger } from '../kernel/log.ts';
import type { TaskSink } from '../services/dispatch/ports.ts';
import { createIntake, type Intake } from '../services/intake/intake.ts';
import { createJobs, type Jobs } from '../services/intake/jobs.ts';
import { recoverJobs } from '../services/intake/recovery.ts';
import { createRestoration } from '../services/intake/restoration.ts';
import { createTaskStories } from '../services/intake/task-stories.ts';
import { createMediaStore, type MediaStore } from '../services/media/media.ts';
import type { Outbox } from '../services/outbox/outbox.ts';
import type { RouteModule } from './http/route.ts';
import { mediaRoutes } from './http/routes/media.ts';
import { messageRoutes } from './http/routes/messages.ts';
import { taskRoutes } from './http/routes/tasks.ts';

export interface MessagesOptions {
  redisUrl: string;
  /** For commands. */
  redis: ReturnType<typeof createRedis>;
  database: Database;
  outbox: Pick<Outbox, 'push' | 'depths' | 'withdraw' | 'replayDead' | 'dropDead' | 'known' | 'waitingFor'>;
  mediaDir: string;
  /** `external`: a process of its own expands the jobs. */
  dispatcher: 'inline' | 'external';
  clock: Clock;
  log: Logger;
  recoveryIntervalMs?: number;
  mediaSweepIntervalMs?: number;
  mediaGraceMs?: number;
}

export interface Messages {
  intake: Intake;
  jobs: Jobs;
  media: MediaStore;
  routes: RouteModule[];
  /** Looks at once for jobs that can go on; to be called when a session connects. */
  wake(): void;
  /** Recovery, the media sweep and, if inline, the dispatcher. Stopping also lets the queue go. */
  service: Service;
}

const RECOVERY_INTERVAL_MS = 1000;
const MEDIA_SWEEP_INTERVAL_MS = 60_000;

/** Everything between `POST /api/messages` and the outboxes. */
export function composeMessages(options: MessagesOptions): Messages {
  const { redis, database, clock, log } = options;
  const store = createJobStore(database, clock);
  const tasks = createJobTaskStore(database, clock);
  const sessions = createSessionDirectory(database);
  const queue = createJobQueue(redis, log);
  const media = createMediaStore({
    files: createFileMediaStore(options.mediaDir, clock),
    references: createMediaReferences(database, clock),
    recognise: recogniseImage,
    log,
    ...(options.mediaGraceMs === undefined ? {} : { graceMs: options.mediaGraceMs }),
  });
  const reader = createRequestThread(log);
  const intake = createIntake({ store, sessions, queue, reader, storeImage: media.put, clock, log });
  const jobs = createJobs({
    store,
    tasks,
    sessions,
    queue,
    outbox: options.outbox,
    hasMedia: media.has,
    clock,
    log,
  });
  const stories = createTaskStories({
    queries: createTaskQueries(database),
    jobs: store,
    sessions,
    outbox: options.outbox,
    clock,
  });

  const restore = createRestoration({
    store,
    tasks,
    outbox: options.outbox,
    queue,
    incarnation: () => redisIncarnation(redis),
    clock,
    log,
  });
  const recovery = new Loop({
    name: 'job recovery',
    intervalMs: options.recoveryIntervalMs ?? RECOVERY_INTERVAL_MS,
    clock,
    log,
    run: async (signal) => {
      await recoverJobs({ store, tasks, sessions, queue, jobs, clock, log }, signal);
      await restore(signal);
    },
  });
  const sweep = new Loop({
    name: 'media sweep',
    intervalMs: options.mediaSweepIntervalMs ?? MEDIA_SWEEP_INTERVAL_MS,
    clock,
    log,
    run: async () => void (await media.sweep()),
  });
  const dispatcher =
    options.dispatcher === 'external'
      ? undefined
      : createDispatcherService({
          redisUrl: options.redisUrl,
          database,
          depths: options.outbox,
          sink: sinkInto(options.outbox),
          clock,
          log,
          onInterrupted: (jobId) => jobs.settle(jobId),
        });

  return {
    intake,
    jobs,
    media,
    routes: [messageRoutes({ intake, jobs }), taskRoutes({ stories }), mediaRoutes({ media })],
    wake: () => recovery.wake(),
    service: {
      async start() {
        await dispatcher?.start();
        await recovery.start();
        await sweep.start();
      },
      async stop() {
        await sweep.stop();
        await recovery.stop();
        await dispatcher?.stop();
        await reader.close();
        await intake.settled();
        await queue.close();
      },
    },
  };
}

/** The rows are in SQL already: all that is left is to queue them. */
const sinkInto = (outbox: Pick<Outbox, 'push'>): TaskSink => ({
  async enqueue(sessionId, tasks, rows) {
    await outbox.push(sessionId, tasks, rows === 'queued');
  },
});
