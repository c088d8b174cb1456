import { DelayedError, type Job, WaitingError, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Clock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import type { Dispatcher, RunOutcome } from '../../services/dispatch/dispatcher.ts';
import { BULLMQ_PREFIX } from '../redis/keys.ts';
import { QUEUE_NAME, type QueuedJob } from './job-queue.ts';

export interface JobWorkerOptions {
  /** A client without a command time-out, for this worker alone; it is not closed with it. */
  connection: Redis;
  dispatcher: Dispatcher;
  clock: Clock;
  log: Logger;
  /** Jobs at the same time. */
  concurrency?: number;
  /** How long a job is held without a sign of life. */
  lockMs?: number;
}

/** How long a job of a killed dispatcher lies still, at most, is the lock and one check together. */
const LOCK_MS = 5000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 15_000;

/**
 * Runs the dispatcher on what the queue carries. A job is never failed by BullMQ's own count: what goes wrong with
 * a dependency is tried again, ever more slowly, and what is wrong with a message ends in its own row.
 */
export function createJobWorker({
  connection,
  dispatcher,
  clock,
  log,
  concurrency = 4,
  lockMs = LOCK_MS,
}: JobWorkerOptions): Service {
  const failures = new Map<string, number>();
  let stopping = new AbortController();
  let worker: Worker<QueuedJob> | undefined;

  const afterFailure = (jobId: string, error: unknown): RunOutcome => {
    const count = (failures.get(jobId) ?? 0) + 1;
    failures.set(jobId, count);
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** Math.min(count - 1, 10), LONGEST_RETRY_MS);
    if (!stopping.signal.aborted) {
      log.warn(
        { jobId, error: messageOf(error), failures: count, delayMs },
        'dispatch failed; it goes on later',
      );
    }
    return { kind: 'later', delayMs };
  };

  const process = async (job: Job<QueuedJob>, token: string | undefined): Promise<void> => {
    const { jobId } = job.data;
    let outcome: RunOutcome;
    try {
      outcome = await dispatcher.run(jobId, stopping.signal);
      failures.delete(jobId);
    } catch (error) {
      // A stop is no failure: the next dispatcher takes it up at once.
      outcome = stopping.signal.aborted ? { kind: 'later', delayMs: 0 } : afterFailure(jobId, error);
    }
    if (outcome.kind === 'finished') return;
    if (outcome.delayMs <= 0) {
      await job.moveToWait(token);
      throw new WaitingError();
    }
    await job.moveToDelayed(clock.nowMs() + outcome.delayMs, token);
    throw new DelayedError();
  };

  return {
    async start() {
      if (worker) return;
      stopping = new AbortController();
      worker = new Worker<QueuedJob>(QUEUE_NAME, process, {
        connection,
        prefix: BULLMQ_PREFIX,
        concurrency,
        lockDuration: lockMs,
        stalledInterval: lockMs / 2,
        // Each kill of a dispatcher counts as a stall; no number of them is a reason to give a job up.
        maxStalledCount: Number.MAX_SAFE_INTEGER,
        removeOnComplete: { count: 0 },
        removeOnFail: { count: 0 },
      });
      worker.on('error', (error) => log.debug({ error: messageOf(error) }, 'job worker'));
    },
    async stop() {
      stopping.abort(new Error('the dispatcher is stopping'));
      const stopped = worker;
      worker = undefined;
      await stopped?.close();
    },
  };
}
