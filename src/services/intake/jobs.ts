import {
  DISPATCHABLE,
  type JobAction,
  type JobState,
  jobMove,
  jobProgress,
  jobTotals,
} from '../../domain/job-state.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { conflict, messageOf, notFound } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { JobView } from '../../protocol/messages.ts';
import { explainWaiting } from './explain.ts';
import type { JobOutbox, JobQueue, JobRecord, JobStore, JobTaskStore, SessionDirectory } from './ports.ts';
import { retryFailed } from './retry-failed.ts';
import { restoreForgotten, settleCancelled, settlePaused } from './settle.ts';

export interface JobsDependencies {
  store: JobStore;
  tasks: JobTaskStore;
  sessions: SessionDirectory;
  outbox: JobOutbox;
  queue: JobQueue;
  /** Whether an image is still there. */
  hasMedia(ref: string): Promise<boolean>;
  clock: Clock;
  log: Logger;
}

/** Jobs as people see and steer them. Every action may be repeated, and answers with the job. */
export interface Jobs {
  /** @throws FlotillaError `job_not_found` */
  view(jobId: string): Promise<JobView>;
  list(query: { state: JobState | null; limit: number; cursor: string | null }): Promise<{
    jobs: JobView[];
    nextCursor: string | null;
  }>;
  /**
   * - pause: nothing more is handed over, and what is queued comes back from the outboxes
   * - resume: goes on where it stood, in order
   * - cancel: as pause, for good; what is in flight finishes
   * - retry-failed: failed messages are sent again, by the same session or, where it is gone, by another
   * @throws FlotillaError `job_not_found`, `wrong_job_state`, `media_gone`, `no_connected_session`
   */
  act(jobId: string, action: JobAction): Promise<JobView>;
  /** Takes back what a dispatcher handed over while the job was being paused or cancelled. */
  settle(jobId: string): Promise<void>;
}

const MINUTE_MS = 60_000;

export function createJobs(deps: JobsDependencies): Jobs {
  const { store, tasks, clock, log } = deps;

  const load = async (jobId: string): Promise<JobRecord> => {
    const job = await store.find(jobId);
    if (!job) throw notFound('job_not_found', `There is no job ${jobId}.`);
    return job;
  };

  const viewOf = async (job: JobRecord, counts: ReadonlyMap<string, number>): Promise<JobView> => {
    const totals = jobTotals(job.state, job.received, counts);
    const aMinuteAgo = toIso(clock.nowMs() - MINUTE_MS);
    const over = job.finishedAt !== null && job.finishedAt < aMinuteAgo;
    const ratePerMinute = over ? 0 : await tasks.sentSince(job.id, aMinuteAgo);
    return {
      id: job.id,
      state: job.state,
      received: job.received,
      totals,
      ...jobProgress(totals, job.received, ratePerMinute),
      ratePerMinute,
      waitingFor: await explainWaiting(deps, job, totals, clock.nowMs()),
      hasImage: job.mediaRef !== null,
      sessionId: job.sessionId,
      tenant: job.tenant,
      notBefore: job.notBefore,
      expiresAt: job.expiresAt,
      createdAt: job.createdAt,
      finishedAt: job.finishedAt,
    };
  };

  const view = async (jobId: string): Promise<JobView> => {
    let job = await load(jobId);
    const counts = await tasks.counts(jobId);
    const open = jobTotals(job.state, job.received, counts).queued;
    if (open === 0 && DISPATCHABLE.includes(job.state) && (await store.finishIfEnded(jobId))) {
      job = await load(jobId);
    }
    return viewOf(job, counts);
  };

  const hurry = async (jobId: string): Promise<void> => {
    try {
      await deps.queue.hurry(jobId);
    } catch (error) {
      log.warn({ jobId, error: messageOf(error) }, 'a job could not be queued; the recovery pass will do it');
    }
  };

  /** The job's state is moved first: from then on no chunk of it is committed, and what follows is tidying up. */
  const afterMove: Record<JobAction, (job: JobRecord) => Promise<void>> = {
    pause: (job) => settlePaused(deps, job.id),
    cancel: (job) => settleCancelled(deps, job),
    resume: async (job) => {
      await restoreForgotten(deps, job.id);
      await hurry(job.id);
    },
    'retry-failed': async () => undefined,
  };

  return {
    view,

    async list(query) {
      const page = await store.list(query);
      const counts = await tasks.countsOf(page.jobs.map(({ id }) => id));
      const jobs: JobView[] = [];
      for (const job of page.jobs) jobs.push(await viewOf(job, counts.get(job.id) ?? new Map()));
      return { jobs, nextCursor: page.nextCursor };
    },

    async act(jobId, action) {
      const job = await load(jobId);
      const move = jobMove(action, job.state);
      if (move.kind === 'refused') throw wrongState(job, action);
      if (action === 'retry-failed') {
        const retried = await retryFailed(deps, job);
        if (retried > 0) {
          await store.move(jobId, ['done'], 'running');
          await hurry(jobId);
        }
        return view(jobId);
      }
      if (move.kind === 'move' && !(await store.move(jobId, [job.state], move.to))) {
        // Somebody else moved it between the look and the move: look again.
        return this.act(jobId, action);
      }
      await afterMove[action]({ ...job, state: move.kind === 'move' ? move.to : job.state });
      return view(jobId);
    },

    async settle(jobId) {
      const job = await store.find(jobId);
      if (job?.state === 'paused') await settlePaused(deps, jobId);
      if (job?.state === 'cancelled') await settleCancelled(deps, job);
    },
  };
}

const wrongState = (job: JobRecord, action: JobAction) =>
  conflict('wrong_job_state', `Job ${job.id} is ${job.state}; ${action} does nothing to it.`, {
    details: { state: job.state },
  });
