import type { Clock } from '../../kernel/clock.ts';
import { toIso } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import type { QueuedTask } from '../outbox/ports.ts';
import { LedgerLook } from './ledger-look.ts';
import type { LedgerEvent, LedgerStream, TaskStore } from './ports.ts';

export interface LedgerFollowerDeps {
  stream: LedgerStream;
  tasks: TaskStore;
  /** Queues tasks that never reached their outbox. */
  push(sessionId: string, tasks: readonly QueuedTask[]): Promise<unknown>;
  clock: Clock;
  log: Logger;
  /** How often the stream is looked at when it was empty. */
  intervalMs?: number;
  /** How long the process that leads may be silent before another one takes over. */
  leadMs?: number;
  /** How old an accepted task must be to count as stranded. */
  strandedAfterMs?: number;
}

/** An entry holds the events of one task, or of a thousand: what one question to the stream brings is kept about even. */
const MOST_ENTRIES_AT_ONCE = 1000;
const EVENTS_A_READ = 2000;
/** What becomes of a task within one look is one write of its row: a stream that is long is looked at far ahead. */
const EVENTS_A_LOOK = 32_000;
/**
 * In one transaction, of a third as many tasks as a rule. It takes turns with what is accepted, up to two thousand
 * tasks at a time: with fewer events it would stay behind, and with more keep others waiting for too long.
 */
const EVENTS_AT_ONCE = 6000;
const STRANDED_AT_ONCE = 500;
const RECOVERY_EVERY_MS = 5000;

/**
 * Carries what the scripts say into SQL, in the order in which it happened. One process follows at a time. An entry
 * leaves the stream after its transaction: what was applied and not removed is applied again, and changes nothing.
 * While SQL is down, the stream is the buffer.
 */
export class LedgerFollower implements Service {
  readonly #deps: LedgerFollowerDeps;
  readonly #loop: Loop;
  readonly #leadMs: number;
  #entriesAtOnce = 100;
  #recoveredAt = Number.NEGATIVE_INFINITY;
  #leadsUntil = Number.NEGATIVE_INFINITY;

  constructor(deps: LedgerFollowerDeps) {
    this.#deps = deps;
    this.#leadMs = deps.leadMs ?? 5000;
    this.#loop = new Loop({
      name: 'ledger follower',
      intervalMs: deps.intervalMs ?? 200,
      clock: deps.clock,
      log: deps.log,
      run: (signal) => this.#pass(signal),
    });
  }

  start(): Promise<void> {
    return this.#loop.start();
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
    try {
      await this.#deps.stream.resign();
    } catch (error) {
      // It runs out by itself.
      this.#deps.log.debug({ error: messageOf(error) }, 'could not hand over following the ledger');
    }
  }

  /** Applies what there is now; for tests and for a last pass at shutdown. */
  async drain(): Promise<void> {
    await this.#pass(new AbortController().signal);
  }

  async #pass(signal: AbortSignal): Promise<void> {
    for (let full = true; full && !signal.aborted; ) {
      if (!(await this.#leads())) return;
      const look = await this.#look();
      // What comes meanwhile waits for the next pass: each transaction costs a sync of the disk, so few and large.
      full = look.full;
      if (look.lastId === null) break;
      for (const events of look.told.inPieces(EVENTS_AT_ONCE)) {
        if (signal.aborted || !(await this.#leads())) return;
        await this.#applyOrSkip(events);
      }
      await this.#deps.stream.trim(look.lastId);
    }
    // Only now: a row that says `accepted` really never reached its outbox, it is not just behind.
    if (!signal.aborted) await this.#recover();
  }

  /** Reads on until there is no more, or enough. */
  async #look(): Promise<{ told: LedgerLook; lastId: string | null; full: boolean }> {
    const told = new LedgerLook();
    for (let lastId: string | null = null; ; ) {
      const limit = this.#entriesAtOnce;
      const { entries, lastId: last, count } = await this.#deps.stream.read(limit, lastId);
      const before = told.size;
      for (const entry of entries) told.add(entry);
      lastId = last ?? lastId;
      const full = count === limit;
      if (count > 0) this.#entriesAtOnce = entriesFor(count, told.size - before);
      if (!full || told.size >= EVENTS_A_LOOK) return { told, lastId, full };
    }
  }

  async #leads(): Promise<boolean> {
    const now = this.#deps.clock.monotonicMs();
    if (now < this.#leadsUntil - (this.#leadMs * 2) / 3) return true;
    const leads = await this.#deps.stream.lead(this.#leadMs);
    this.#leadsUntil = leads ? now + this.#leadMs : Number.NEGATIVE_INFINITY;
    return leads;
  }

  /** One event that SQL will never take must not hold up all others for ever: it is dropped, and said so. */
  async #applyOrSkip(events: readonly LedgerEvent[]): Promise<void> {
    try {
      await this.#deps.tasks.apply(events);
    } catch (error) {
      const refused: { event: LedgerEvent; error: unknown }[] = [];
      for (const event of events) {
        await this.#deps.tasks
          .apply([event])
          .catch((cause: unknown) => refused.push({ event, error: cause }));
        if (refused.length > 3) throw error; // not the events: SQL is down
      }
      if (refused.length === events.length) throw error;
      for (const { event, error: cause } of refused) {
        this.#deps.log.error(
          { taskId: event.taskId, sessionId: event.sessionId, event: event.type, error: messageOf(cause) },
          'the database refuses what became of a task; its record stays behind',
        );
      }
    }
  }

  async #recover(): Promise<void> {
    const { clock, tasks, log } = this.#deps;
    const now = clock.monotonicMs();
    if (now - this.#recoveredAt < RECOVERY_EVERY_MS) return;
    this.#recoveredAt = now;
    const before = toIso(clock.nowMs() - (this.#deps.strandedAfterMs ?? 10_000));
    const stranded = await tasks.stranded(before, STRANDED_AT_ONCE);
    const bySession = Map.groupBy(stranded, ({ sessionId }) => sessionId);
    for (const [sessionId, rows] of bySession) {
      await this.#deps.push(
        sessionId,
        rows.map(({ taskId, payload }) => ({ taskId, raw: payload })),
      );
    }
    if (stranded.length > 0) log.info({ tasks: stranded.length }, 'queued tasks that had been left behind');
  }
}

const entriesFor = (count: number, events: number): number =>
  Math.max(1, Math.min(MOST_ENTRIES_AT_ONCE, Math.round((EVENTS_A_READ * count) / Math.max(1, events))));
