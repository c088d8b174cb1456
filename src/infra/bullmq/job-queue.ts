import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { JobQueue } from '../../services/intake/ports.ts';
import { BULLMQ_PREFIX } from '../redis/keys.ts';

export const QUEUE_NAME = 'jobs';

/** What BullMQ carries: a name for a row in SQL, nothing more. */
export interface QueuedJob {
  jobId: string;
}

/** BullMQ takes no colon in an id, and none that is a number; `%` cannot stand in a job's id. */
export const queueIdOf = (jobId: string): string => `job.${jobId.replaceAll(':', '%3A')}`;

export interface BullJobQueue extends JobQueue {
  close(): Promise<void>;
}

/** @param redis a client for commands; it is not closed with the queue */
export function createJobQueue(redis: Redis, log: Logger): BullJobQueue {
  const queue = new Queue<QueuedJob>(QUEUE_NAME, {
    connection: redis,
    prefix: BULLMQ_PREFIX,
    // A caller is told at once that Redis is down, instead of waiting until it is back.
    skipWaitingForReady: true,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true },
  });
  queue.on('error', (error) => log.debug({ error: messageOf(error) }, 'job queue'));

  // An id that is there already is left as it is.
  const entry = (jobId: string, delayMs: number) => ({
    name: 'expand',
    data: { jobId },
    opts: { jobId: queueIdOf(jobId), ...(delayMs > 0 ? { delay: delayMs } : {}) },
  });
  const add = async (jobId: string, delayMs: number): Promise<void> => {
    const { name, data, opts } = entry(jobId, delayMs);
    await queue.add(name, data, opts);
  };

  return {
    add,
    async addAll(jobs) {
      if (jobs.length > 0) await queue.addBulk(jobs.map(({ jobId, delayMs }) => entry(jobId, delayMs)));
    },
    async hurry(jobId) {
      const job = await queue.getJob(queueIdOf(jobId));
      if (!job) return add(jobId, 0);
      if (!(await job.isDelayed())) return;
      try {
        await job.promote();
      } catch (error) {
        // It became due, or was finished, between the question and the order.
        if (!/not in the delayed state|Missing key/.test(messageOf(error))) throw error;
      }
    },
    close: () => queue.close(),
  };
}
