import { DISPATCHABLE } from '../../domain/job-state.ts';
import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';
import type { JobRecord, SessionDirectory } from '../intake/ports.ts';
import { planChunk, planExpired } from './plan.ts';
import type { DispatchStore, OutboxDepths, PlannedTask, TaskSink } from './ports.ts';
import { findSenders } from './senders.ts';

/** What becomes of the queue's entry for the job. */
export type RunOutcome =
  /** Nothing is left to hand over, or it is not ours to do. */
  | { kind: 'finished' }
  /** To be run again after so many milliseconds. */
  | { kind: 'later'; delayMs: number };

export interface DispatcherDependencies {
  store: DispatchStore;
  sessions: SessionDirectory;
  depths: OutboxDepths;
  sink: TaskSink;
  clock: Clock;
  log: Logger;
  /** A run gives way to other jobs after so many milliseconds. */
  turnMs?: number;
  /** Told when a run found its job paused or cancelled, after it may have handed tasks over. */
  onInterrupted?(jobId: string): Promise<void>;
}

/** Expands jobs into tasks, chooses who sends each, and hands them to the outboxes. */
export interface Dispatcher {
  /**
   * One turn on a job. It may be killed anywhere and run again: a contact gets its row together with the move of the
   * job's cursor, and a row that may not have reached its outbox is handed over again before anything else.
   * @throws FlotillaError with `retryable`, or the dependency's own error, when the turn has to be repeated
   */
  run(jobId: string, signal: AbortSignal): Promise<RunOutcome>;
}

const TURN_MS = 3000;
/** A waiting job is woken when a session connects; this is the safety net. */
const LOOK_AGAIN_MS = 30_000;
/** Engines count delays in 32 bits here and there, and clocks are set: look again at least once a day. */
const LONGEST_DELAY_MS = 86_400_000;
const TASKS_PER_HAND_OVER = 500;

const FINISHED: RunOutcome = { kind: 'finished' };

export function createDispatcher(deps: DispatcherDependencies): Dispatcher {
  const { store, clock, log } = deps;
  const turnMs = deps.turnMs ?? TURN_MS;

  /** Rows that were committed by a run that was killed before it had handed them over. */
  const handOverAgain = async (jobId: string, signal: AbortSignal): Promise<void> => {
    for (let after = -1; ; ) {
      signal.throwIfAborted();
      const tasks = await store.accepted(jobId, after, TASKS_PER_HAND_OVER);
      const last = tasks.at(-1);
      if (!last) return;
      await handOver(tasks);
      after = last.position;
    }
  };

  const handOver = async (planned: readonly PlannedTask[]): Promise<void> => {
    const bySession = Map.groupBy(planned, ({ sessionId }) => sessionId);
    await Promise.all(
      [...bySession].map(([sessionId, tasks]) =>
        deps.sink.enqueue(
          sessionId,
          tasks.map(({ task }) => task),
        ),
      ),
    );
  };

  const waitFor = async (job: JobRecord, words: string, delayMs: number): Promise<RunOutcome> => {
    if (job.state !== 'waiting' || job.waitingFor !== words) {
      await store.wait(job.id, words);
      log.info({ jobId: job.id, waitingFor: words }, 'job waits');
    }
    return { kind: 'later', delayMs: Math.min(delayMs, LONGEST_DELAY_MS) };
  };

  /** Hands one chunk over. @returns how many contacts were taken; null if the job is not ours any more */
  const expandChunk = async (job: JobRecord, from: number): Promise<number | 'waiting' | 'lost'> => {
    const contacts = await store.contacts(job.id, from);
    if (isExpired(job, clock)) {
      const planned = planExpired(job, from, contacts);
      return (await store.commitExpired(job, from, planned)) ? planned.length : 'lost';
    }
    const senders = await findSenders(deps, job);
    if (senders.length === 0) return 'waiting';
    const sticky = await store.stickySenders(
      job.tenant,
      contacts.map(([phone]) => phone),
    );
    const planned = planChunk(job, from, contacts, sticky, senders);
    if (!(await store.commit(job, from, planned))) return 'lost';
    await handOver(planned);
    return planned.length;
  };

  return {
    async run(jobId, signal) {
      const job = await store.find(jobId);
      if (!job || !DISPATCHABLE.includes(job.state)) return FINISHED;
      const startsInMs = job.notBefore === null ? 0 : Date.parse(job.notBefore) - clock.nowMs();
      if (startsInMs > 0) return waitFor(job, `its start time, ${job.notBefore}`, startsInMs);
      await handOverAgain(jobId, signal);

      const turnEnds = clock.monotonicMs() + turnMs;
      for (let from = job.expanded; from < job.received; ) {
        signal.throwIfAborted();
        if (clock.monotonicMs() >= turnEnds) return { kind: 'later', delayMs: 0 };
        const taken = await expandChunk(job, from);
        if (taken === 'waiting')
          return waitFor(job, await missingSender(deps.sessions, job), lookAgainMs(job, clock));
        if (taken === 'lost' || taken === 0) {
          log.info({ jobId }, 'job was paused, cancelled or taken over');
          await deps.onInterrupted?.(jobId);
          return FINISHED;
        }
        from += taken;
      }
      await store.running(jobId);
      return FINISHED;
    },
  };
}

const isExpired = (job: JobRecord, clock: Clock): boolean =>
  job.expiresAt !== null && Date.parse(job.expiresAt) <= clock.nowMs();

const lookAgainMs = (job: JobRecord, clock: Clock): number =>
  job.expiresAt === null
    ? LOOK_AGAIN_MS
    : Math.max(0, Math.min(LOOK_AGAIN_MS, Date.parse(job.expiresAt) - clock.nowMs()));

/** Why nobody can send, in words. */
async function missingSender(sessions: SessionDirectory, job: JobRecord): Promise<string> {
  if (job.sessionId === null) {
    return job.tenant === null ? 'a connected session' : `a connected session of tenant ${job.tenant}`;
  }
  const session = await sessions.find(job.sessionId);
  if (!session) return `session ${job.sessionId}, which does not exist any more`;
  if (!session.wanted) return `session ${job.sessionId}, which is stopped`;
  return `session ${job.sessionId}, which is ${session.state.replaceAll('_', ' ')}`;
}
