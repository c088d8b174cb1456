import { redactLine } from '../../domain/redact.ts';
import { isWanted } from '../../domain/session-state.ts';
import { describeExit } from '../../domain/worker-exit.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { messageOf, unavailable } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { SessionRecord, SessionStore } from '../sessions/ports.ts';
import type { SessionStates } from '../sessions/session-states.ts';
import type { Migrations } from './migrations.ts';
import type {
  FleetBinder,
  FleetBinding,
  FleetOutbox,
  SuccessorSource,
  WaitingWorkers,
  WorkerRuntime,
  WorkerSpec,
} from './ports.ts';

export interface SuccessionDeps {
  runtime: WorkerRuntime & Partial<SuccessorSource>;
  binder: Pick<FleetBinder, 'binding'>;
  outbox: Pick<FleetOutbox, 'handOver'>;
  store: Pick<SessionStore, 'find' | 'update'>;
  states: Pick<SessionStates, 'enter'>;
  waiting: WaitingWorkers;
  migrations: Migrations;
  specFor(session: SessionRecord, binding: FleetBinding, epoch: number, image: string | null): WorkerSpec;
  imageFor(session: SessionRecord): Promise<string | null>;
  clock: Clock;
  log: Logger;
}

const LOOK_EVERY_MS = 50;
/** From its start until it waits; on a machine that is busy a start takes many seconds. */
const ARRIVES_WITHIN_MS = 45_000;
/** Whether it still runs, meanwhile. */
const LOOK_AFTER_MS = 1000;
/** The image may have to be fetched. The session goes on meanwhile, but nothing else is done for it. */
const PREPARED_WITHIN_MS = 120_000;
/** That it is listed as what it is must not cost time without a connection. */
const PROMOTED_WITHIN_MS = 500;

/**
 * Replaces a worker that runs by one that was prepared beside it: the session goes on until its successor waits for
 * its turn, and has no connection only from the end of the one to the connection of the other. Until then the old
 * one has the epoch. Whatever goes wrong before is the end of the successor, and of nothing else.
 */
export class Succession {
  readonly #deps: SuccessionDeps;
  /** No two successors of a session get the same epoch: one of before may be where nobody reaches it. */
  readonly #lastEpochs = new Map<string, number>();

  constructor(deps: SuccessionDeps) {
    this.#deps = deps;
  }

  /**
   * @param start starts the session's worker under this epoch, which has begun; its state tells of it when it is listed
   * @returns whether something was changed
   */
  async replace(
    sessionId: string,
    node: string,
    options: {
      graceMs: number;
      lead: number | undefined;
      signal: AbortSignal | undefined;
      start(epoch: number, listed: Promise<void>): Promise<boolean>;
    },
  ): Promise<boolean> {
    const { runtime, outbox, store, migrations, clock } = this.#deps;
    const session = await store.find(sessionId);
    if (!session || !isWanted(session)) return false;
    const generation = session.generation + 1;
    const epoch = this.#nextEpoch(session);
    const askedAt = await migrations.askedAt(sessionId);
    const isAsBefore = (): Promise<boolean> => this.#isAsBefore(session, askedAt);
    try {
      await this.#prepare(session, node, epoch, isAsBefore, options.signal);
    } catch (error) {
      await runtime.discard?.(sessionId, epoch).catch(() => undefined);
      // The next leader begins anew.
      if (options.signal?.aborted) return false;
      // A restart goes where the move was to go; another move goes where that one is to go.
      if (!(await isAsBefore())) return true;
      await migrations.calledOff(sessionId, generation, `${node} is not ready: ${messageOf(error)}`);
      return true;
    }
    const at = toIso(clock.nowMs());
    const guard = { generation: session.generation, epoch: session.epoch, desired: 'running' as const };
    const patch = { generation, crashes: 0, notBefore: null };
    if (!(await isAsBefore()) || !(await store.update(sessionId, patch, guard, at))) {
      await runtime.discard?.(sessionId, epoch);
      return true;
    }
    // From here on the old one is outdated: if this is not carried on, it ends all the same, and a new one starts.
    await runtime.stop(sessionId, { graceMs: options.graceMs });
    // From here on the session has no connection: what need not wait for one another does not.
    const listed = this.#promote(sessionId, epoch);
    const [begun] = await Promise.all([
      outbox.handOver(sessionId, epoch, options.lead),
      this.#ended(sessionId, generation),
    ]);
    return begun ? await options.start(epoch, listed) : true;
  }

  /** There is no place for a successor. @returns whether something was changed */
  async stay(sessionId: string, reason: string): Promise<boolean> {
    const session = await this.#deps.store.find(sessionId);
    if (session) await this.#deps.migrations.calledOff(sessionId, session.generation + 1, reason);
    return session !== null;
  }

  /** Resolves when the successor waits for its turn. */
  async #prepare(
    session: SessionRecord,
    node: string,
    epoch: number,
    isAsBefore: () => Promise<boolean>,
    stopping: AbortSignal | undefined,
  ): Promise<void> {
    const { runtime, binder, waiting } = this.#deps;
    const binding = await binder.binding(session.id);
    if (!binding || !runtime.prepare) throw unavailable('not_prepared', 'nothing can be prepared for it');
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, ...(stopping ? [stopping] : [])]);
    const watching = this.#watch(isAsBefore, over, signal);
    try {
      await waiting.forget(session.id);
      const image = await this.#deps.imageFor(session);
      const next = { ...session, generation: session.generation + 1 };
      const spec = this.#deps.specFor(next, binding, epoch, image);
      await runtime.prepare({ ...spec, node }, { signal });
      await this.#arrival(session.id, epoch, signal);
    } finally {
      over.abort();
      await watching;
    }
  }

  async #arrival(sessionId: string, epoch: number, signal: AbortSignal): Promise<void> {
    const { waiting, clock } = this.#deps;
    const begunAt = clock.monotonicMs();
    let lookAt = begunAt + LOOK_AFTER_MS;
    while (!(await waiting.has(sessionId, epoch))) {
      const now = clock.monotonicMs();
      if (now - begunAt > ARRIVES_WITHIN_MS) {
        const seconds = ARRIVES_WITHIN_MS / 1000;
        throw unavailable(
          'not_prepared',
          `the worker that was started there did not report within ${seconds} s`,
        );
      }
      if (now >= lookAt) {
        await this.#refuseEnded(sessionId, epoch);
        lookAt = clock.monotonicMs() + LOOK_AFTER_MS;
      }
      await clock.sleep(LOOK_EVERY_MS, signal);
    }
  }

  /** One that has ended never arrives. */
  async #refuseEnded(sessionId: string, epoch: number): Promise<void> {
    // An engine that does not answer says nothing about it.
    const found = await this.#deps.runtime.successor?.(sessionId, epoch).catch(() => undefined);
    if (!found?.exit) return;
    const exit = { ...found.exit, lastLines: found.exit.lastLines.map(redactLine) };
    throw unavailable('not_prepared', describeExit(exit));
  }

  async #promote(sessionId: string, epoch: number): Promise<void> {
    const { runtime, clock, log } = this.#deps;
    const over = new AbortController();
    try {
      // If it is late, the start does it.
      const late = clock.sleep(PROMOTED_WITHIN_MS, over.signal).catch(() => undefined);
      await Promise.race([runtime.promote?.(sessionId, epoch), late]);
    } catch (error) {
      log.debug({ sessionId, error: messageOf(error) }, 'a successor could not be listed before its turn');
    } finally {
      over.abort();
    }
  }

  /** One that was killed has said nothing. */
  async #ended(sessionId: string, generation: number): Promise<void> {
    await this.#deps.states.enter(sessionId, 'reconnecting', {
      reason: 'its worker has ended, and the next one takes over',
      from: ['connected'],
      guard: { generation },
    });
  }

  /** Gives up when it takes too long, or when something else is wanted of the session. */
  async #watch(
    isAsBefore: () => Promise<boolean>,
    over: AbortController,
    signal: AbortSignal,
  ): Promise<void> {
    const { clock } = this.#deps;
    const deadline = clock.monotonicMs() + PREPARED_WITHIN_MS;
    while (!signal.aborted) {
      if (!(await isAsBefore().catch(() => true)))
        over.abort(unavailable('not_prepared', 'something else was asked of the session'));
      else if (clock.monotonicMs() > deadline) over.abort(unavailable('not_prepared', 'it takes too long'));
      await clock.sleep(LOOK_EVERY_MS * 5, signal).catch(() => undefined);
    }
  }

  /** Whether nothing else is wanted of the session, and no other move was asked for. */
  async #isAsBefore(before: SessionRecord, askedAt: number | null): Promise<boolean> {
    const now = await this.#deps.store.find(before.id);
    if (now?.desired !== before.desired || now.generation !== before.generation) return false;
    return (await this.#deps.migrations.askedAt(before.id)) === askedAt;
  }

  #nextEpoch(session: SessionRecord): number {
    const last = this.#lastEpochs.get(session.id) ?? 0;
    const epoch = Math.max(session.epoch + 1, last + 1, this.#deps.clock.nowMs());
    this.#lastEpochs.set(session.id, epoch);
    return epoch;
  }
}
