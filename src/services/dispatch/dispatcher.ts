import { DISPATCHABLE } from '../../domain/job-state.ts';
import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';
import { stateInWords } from '../intake/explain.ts';
import type { JobRecord, SessionDirectory } from '../intake/ports.ts';
import { type Chunk, Expansion, NO_CHUNK } from './expansion.ts';
import { createHandOver } from './hand-over.ts';
import { tasksOf } from './plan.ts';
import type { DispatchStore, OutboxDepths, TaskSink } from './ports.ts';

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
/**
 * A waiting job is woken when a session connects; this is the safety net, which gets wider the longer it waits: ten
 * thousand jobs may wait for months.
 */
const LOOK_AGAIN_MS = 30_000;
const LOOK_AGAIN_AT_LAST_MS = 600_000;
const PART_OF_THE_WAIT = 1 / 4;
/** Engines count delays in 32 bits here and there, and clocks are set: look again at least once a day. */
const LONGEST_DELAY_MS = 86_400_000;
const FINISHED: RunOutcome = { kind: 'finished' };

type Ending =
  /** All contacts have their rows, and all tasks their places. */
  | 'expanded'
  | 'turn_over'
  | 'nobody'
  /** The job was paused, cancelled or taken over. */
  | 'interrupted';

export function createDispatcher(deps: DispatcherDependencies): Dispatcher {
  const { store, clock, log } = deps;
  const turnMs = deps.turnMs ?? TURN_MS;

  const handOver = createHandOver(deps);

  const waitFor = async (job: JobRecord, words: string, delayMs: number): Promise<RunOutcome> => {
    if (job.state !== 'waiting' || job.waitingFor !== words) {
      await store.wait(job.id, words);
      log.info({ jobId: job.id, waitingFor: words }, 'job waits');
    }
    return { kind: 'later', delayMs: Math.min(delayMs, LONGEST_DELAY_MS) };
  };

  /**
   * Expands what is left of the job: a chunk is planned while the one before is written, and the one before that is
   * on its way into the outboxes. Each is written and sets out when the one before has been, so that order holds.
   */
  const expand = async (job: JobRecord, signal: AbortSignal): Promise<Ending> => {
    const expansion = new Expansion(deps, job);
    const turnEnds = clock.monotonicMs() + turnMs;
    let written: Promise<boolean> = Promise.resolve(true);
    let handingOver: Promise<unknown> = Promise.resolve();
    /** Everything before has arrived. */
    let handedOver = job.expanded;
    let writing: Chunk | undefined;
    const write = ({ commit }: Chunk): void => {
      // At once when the one before is there, whatever else goes on: nothing else keeps the database busy.
      written = written.then((all) => all && commit(handedOver));
      written.catch(() => undefined);
    };
    /** Sends out what is being written. @returns whether it has been */
    const sendOut = async (chunk: Chunk | undefined, isWritten: Promise<boolean>): Promise<boolean> => {
      if (!chunk) return true;
      const passed = await isWritten;
      await handingOver;
      handedOver = chunk.plan.from;
      if (!passed || chunk.kind !== 'planned') return passed;
      handingOver = handOver.now(tasksOf(job, chunk.plan), 'queued');
      handingOver.catch(() => undefined);
      return true;
    };
    /** Waits until all before `upTo` is where it belongs. @returns whether it has been written */
    const settle = async (upTo: number): Promise<boolean> => {
      const passed = await sendOut(writing, written);
      writing = undefined;
      await handingOver;
      if (passed) handedOver = upTo;
      return passed;
    };
    try {
      let coming = planAhead(expansion, job, job.expanded);
      for (let from = job.expanded; from < job.received; ) {
        if (signal.aborted || clock.monotonicMs() >= turnEnds) {
          if (!(await settle(from))) return 'interrupted';
          await store.confirm(job.id, from);
          signal.throwIfAborted();
          return 'turn_over';
        }
        const chunk = await coming;
        const { kind } = chunk;
        const count = chunk.plan.contacts.length;
        // Nothing of what has expired is handed over, and its row says that all before it has been.
        if ((kind !== 'planned' || count === 0) && !(await settle(from))) return 'interrupted';
        if (count === 0) return kind === 'nobody' ? 'nobody' : 'interrupted';
        const before = { chunk: writing, written };
        write(chunk);
        writing = chunk;
        from += count;
        coming = planAhead(expansion, job, from);
        if (!(await sendOut(before.chunk, before.written))) return 'interrupted';
      }
      if (!(await settle(job.received))) return 'interrupted';
      await store.confirm(job.id, job.received);
      return 'expanded';
    } finally {
      await written.catch(() => undefined);
      await handingOver.catch(() => undefined);
    }
  };

  return {
    async run(jobId, signal) {
      const job = await store.find(jobId);
      if (!job || !DISPATCHABLE.includes(job.state)) return FINISHED;
      const startsInMs = job.notBefore === null ? 0 : Date.parse(job.notBefore) - clock.nowMs();
      if (startsInMs > 0) return waitFor(job, `its start time ${job.notBefore}`, startsInMs);
      await handOver.again(job, signal);
      const ending = await expand(job, signal);
      if (ending === 'turn_over') return { kind: 'later', delayMs: 0 };
      if (ending === 'nobody') {
        return waitFor(job, await missingSender(deps.sessions, job), lookAgainMs(job, clock));
      }
      if (ending === 'interrupted') {
        log.info({ jobId }, 'job was paused, cancelled or taken over');
        await deps.onInterrupted?.(jobId);
        return FINISHED;
      }
      await store.running(jobId);
      const after = await store.find(jobId);
      if (!after) return FINISHED;
      if (!DISPATCHABLE.includes(after.state)) {
        await deps.onInterrupted?.(jobId);
        return FINISHED;
      }
      // Paused and resumed meanwhile: what was taken out of the outboxes is to be handed over again, and the queue
      // takes no second entry for a job that is under way.
      return (await store.accepted(after, -1, 1)).length > 0 ? { kind: 'later', delayMs: 0 } : FINISHED;
    },
  };
}

/** Awaited a little later. */
function planAhead(expansion: Expansion, job: JobRecord, from: number): Promise<Chunk> {
  const planned = from < job.received ? expansion.plan(from) : Promise.resolve(NO_CHUNK);
  planned.catch(() => undefined);
  return planned;
}

function lookAgainMs(job: JobRecord, clock: Clock): number {
  const now = clock.nowMs();
  const waitedMs = job.state === 'waiting' ? now - Date.parse(job.updatedAt) : 0;
  const inMs = Math.min(Math.max(LOOK_AGAIN_MS, waitedMs * PART_OF_THE_WAIT), LOOK_AGAIN_AT_LAST_MS);
  return job.expiresAt === null ? inMs : Math.max(0, Math.min(inMs, Date.parse(job.expiresAt) - now));
}

/** Why nobody can send, in words. */
async function missingSender(sessions: SessionDirectory, job: JobRecord): Promise<string> {
  if (job.sessionId !== null) {
    return `session ${job.sessionId} is ${stateInWords(await sessions.find(job.sessionId))}`;
  }
  return job.tenant === null ? 'no connected session' : `no connected session for tenant ${job.tenant}`;
}
