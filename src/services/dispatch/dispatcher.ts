import { SenderChooser } from '../../domain/choose-sender.ts';
import { DISPATCHABLE } from '../../domain/job-state.ts';
import type { Clock } from '../../kernel/clock.ts';
import { FlotillaError } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { Contact } from '../../protocol/messages.ts';
import { stateInWords } from '../intake/explain.ts';
import type { JobRecord, SessionDirectory } from '../intake/ports.ts';
import { planChunk, planExpired } from './plan.ts';
import type { DispatchStore, OutboxDepths, PlannedRow, PlannedTask, TaskSink } from './ports.ts';
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
/** For so long who may send, and what each has before it, is not asked again: between, a run counts by itself. */
const SENDERS_KNOWN_MS = 250;

/** Can be tried again by another session: see retry-failed. */
const SESSION_GONE = 'session_deleted';

const FINISHED: RunOutcome = { kind: 'finished' };

/** A step of a run. */
interface Chunk {
  /** Contacts that have their rows. */
  taken: number;
  /** Committed, and to be handed over next. */
  planned: readonly PlannedRow[];
  /** Of the chunk before. */
  handingOver: Promise<void>;
}

const NOTHING: Chunk = { taken: 0, planned: [], handingOver: Promise.resolve() };

/** What a chunk is planned from. */
interface Material {
  contacts: readonly Contact[];
  sticky: Map<string, string>;
}

/** What a run knows from one chunk to the next. */
interface Run {
  job: JobRecord;
  /** The next contacts, on their way while those before them are written. */
  ahead: { from: number; material: Promise<Material> } | undefined;
  /** Who was chosen in the chunk before: the database may not say so yet. */
  chosen: ReadonlyMap<string, string>;
  senders: { chooser: SenderChooser; askedAt: number } | undefined;
}

export function createDispatcher(deps: DispatcherDependencies): Dispatcher {
  const { store, clock, log } = deps;
  const turnMs = deps.turnMs ?? TURN_MS;

  /** Rows that were committed by a run that was killed before it had handed them over. */
  const handOverAgain = async (job: JobRecord, signal: AbortSignal): Promise<void> => {
    for (let after = -1; ; ) {
      signal.throwIfAborted();
      const tasks = await store.accepted(job, after, TASKS_PER_HAND_OVER);
      const last = tasks.at(-1);
      if (!last) return;
      const gone = await failForGoneSessions(tasks);
      const again = tasks.filter(({ sessionId }) => !gone.has(sessionId));
      await handOver(again);
      // An outbox says nothing of what it had already: without this such rows would be handed over for ever.
      for (const [sessionId, rows] of Map.groupBy(again, (row) => row.sessionId)) {
        await store.handedOver(sessionId, ids(rows));
      }
      after = last.position;
    }
  };

  /** A session can be deleted between the two runs: its outbox is nobody's. */
  const failForGoneSessions = async (tasks: readonly PlannedTask[]): Promise<Set<string>> => {
    const bySession = Map.groupBy(tasks, ({ sessionId }) => sessionId);
    const existing = await deps.sessions.findMany([...bySession.keys()]);
    const gone = [...bySession].filter(([sessionId]) => !existing.has(sessionId));
    for (const [sessionId, rows] of gone) await store.fail(sessionId, ids(rows), SESSION_GONE);
    return new Set(gone.map(([sessionId]) => sessionId));
  };

  const handOver = async (planned: readonly PlannedTask[]): Promise<void> => {
    const bySession = Map.groupBy(planned, ({ sessionId }) => sessionId);
    await Promise.all(
      [...bySession].map(async ([sessionId, tasks]) => {
        try {
          await deps.sink.enqueue(sessionId, tasks);
        } catch (error) {
          if (!isSessionGone(error)) throw error;
          await store.fail(sessionId, ids(tasks), SESSION_GONE);
        }
      }),
    );
  };

  const waitFor = async (job: JobRecord, words: string, delayMs: number): Promise<RunOutcome> => {
    if (job.state !== 'waiting' || job.waitingFor !== words) {
      await store.wait(job.id, words);
      log.info({ jobId: job.id, waitingFor: words }, 'job waits');
    }
    return { kind: 'later', delayMs: Math.min(delayMs, LONGEST_DELAY_MS) };
  };

  const read = async ({ id, tenant }: JobRecord, from: number): Promise<Material> => {
    const contacts = await store.contacts(id, from);
    const recipients = contacts.map(([phone]) => phone);
    return { contacts, sticky: await store.stickySenders(tenant, recipients) };
  };

  const readAhead = (run: Run, from: number): void => {
    if (from >= run.job.received) return;
    const material = read(run.job, from);
    // Whoever awaits it hears of its failure; until then nobody listens.
    material.catch(() => undefined);
    run.ahead = { from, material };
  };

  const materialOf = async (run: Run, from: number): Promise<Material> => {
    const { contacts, sticky } =
      run.ahead?.from === from ? await run.ahead.material : await read(run.job, from);
    for (const [phone] of contacts) {
      const chosen = run.chosen.get(phone);
      if (chosen !== undefined) sticky.set(phone, chosen);
    }
    return { contacts, sticky };
  };

  /** @param coming what the outboxes do not show yet */
  const chooserOf = async (run: Run, coming: readonly PlannedTask[]): Promise<SenderChooser | null> => {
    const now = clock.monotonicMs();
    if (run.senders && now - run.senders.askedAt < SENDERS_KNOWN_MS) return run.senders.chooser;
    const senders = await findSenders(deps, run.job);
    if (senders.length === 0) return null;
    const more = new Map<string, number>();
    for (const { sessionId } of coming) more.set(sessionId, (more.get(sessionId) ?? 0) + 1);
    const weighed = senders.map(({ id, load }) => ({ id, load: load + (more.get(id) ?? 0) }));
    run.senders = { chooser: new SenderChooser(weighed), askedAt: now };
    return run.senders.chooser;
  };

  /**
   * Commits the next chunk while the one before it is on its way into the outboxes; each has arrived before the
   * next one sets out, so that order holds.
   */
  const expandChunk = async (run: Run, from: number, before: Chunk): Promise<Chunk | 'waiting' | 'lost'> => {
    const { job } = run;
    const { contacts, sticky } = await materialOf(run, from);
    if (isExpired(job, clock)) {
      await finishHandOver(before);
      const expired = planExpired(job, from, contacts);
      if (!(await store.commitExpired(job, from, expired))) return 'lost';
      return { ...NOTHING, taken: expired.length };
    }
    await before.handingOver;
    const chooser = await chooserOf(run, before.planned);
    const handingOver = handOver(before.planned);
    handingOver.catch(() => undefined);
    if (!chooser) {
      await handingOver;
      return 'waiting';
    }
    try {
      const planned = planChunk(job, from, contacts, sticky, chooser);
      run.chosen = new Map(planned.map(({ recipient, sessionId }) => [recipient, sessionId]));
      const committed = store.commit(job, from, planned, from - before.planned.length);
      readAhead(run, from + planned.length);
      if (await committed) return { taken: planned.length, planned, handingOver };
    } catch (error) {
      await handingOver.catch(() => undefined);
      throw error;
    }
    await handingOver;
    return 'lost';
  };

  const finishHandOver = async ({ planned, handingOver }: Chunk): Promise<void> => {
    await handingOver;
    await handOver(planned);
  };

  return {
    async run(jobId, signal) {
      const job = await store.find(jobId);
      if (!job || !DISPATCHABLE.includes(job.state)) return FINISHED;
      const startsInMs = job.notBefore === null ? 0 : Date.parse(job.notBefore) - clock.nowMs();
      if (startsInMs > 0) return waitFor(job, `its start time ${job.notBefore}`, startsInMs);
      await handOverAgain(job, signal);
      const run: Run = { job, ahead: undefined, chosen: new Map(), senders: undefined };

      const turnEnds = clock.monotonicMs() + turnMs;
      let chunk = NOTHING;
      for (let from = job.expanded; from < job.received; ) {
        if (signal.aborted || clock.monotonicMs() >= turnEnds) {
          await finishHandOver(chunk);
          await store.confirm(jobId, from);
          signal.throwIfAborted();
          return { kind: 'later', delayMs: 0 };
        }
        const next = await expandChunk(run, from, chunk);
        if (next === 'waiting')
          return waitFor(job, await missingSender(deps.sessions, job), lookAgainMs(job, clock));
        if (next === 'lost' || next.taken === 0) {
          log.info({ jobId }, 'job was paused, cancelled or taken over');
          await deps.onInterrupted?.(jobId);
          return FINISHED;
        }
        chunk = next;
        from += next.taken;
      }
      await finishHandOver(chunk);
      await store.confirm(jobId, job.received);
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

const ids = (tasks: readonly PlannedTask[]): string[] => tasks.map(({ taskId }) => taskId);

const isSessionGone = (error: unknown): boolean =>
  error instanceof FlotillaError && error.code === 'session_not_found';

const isExpired = (job: JobRecord, clock: Clock): boolean =>
  job.expiresAt !== null && Date.parse(job.expiresAt) <= clock.nowMs();

const lookAgainMs = (job: JobRecord, clock: Clock): number =>
  job.expiresAt === null
    ? LOOK_AGAIN_MS
    : Math.max(0, Math.min(LOOK_AGAIN_MS, Date.parse(job.expiresAt) - clock.nowMs()));

/** Why nobody can send, in words. */
async function missingSender(sessions: SessionDirectory, job: JobRecord): Promise<string> {
  if (job.sessionId !== null) {
    return `session ${job.sessionId} is ${stateInWords(await sessions.find(job.sessionId))}`;
  }
  return job.tenant === null ? 'no connected session' : `no connected session for tenant ${job.tenant}`;
}
