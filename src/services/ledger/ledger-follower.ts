import type { Clock } from '../../kernel/clock.ts';
import { toIso } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import { whatsappMessageId } from '../../kernel/ids.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import type { QueuedTask } from '../outbox/ports.ts';
import type { LedgerEvent, LedgerStream, StreamEntry, TaskStore } from './ports.ts';

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

/** An entry holds the events of one task, or of a thousand: what one look at the stream brings is kept about even. */
const MOST_ENTRIES_AT_ONCE = 1000;
const EVENTS_A_LOOK = 2000;
/** In one transaction. It has to let others at the database soon, but one of few events costs each of them more. */
const EVENTS_AT_ONCE = 2000;
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
      const limit = this.#entriesAtOnce;
      const { entries, lastId, count } = await this.#deps.stream.read(limit);
      // What comes meanwhile waits for the next pass: each transaction costs a sync of the disk, so few and large.
      full = count === limit;
      if (lastId === null) break;
      const events = eventsOf(entries);
      this.#entriesAtOnce = Math.max(1, Math.min(MOST_ENTRIES_AT_ONCE, entriesFor(count, events.length)));
      await this.#apply(events);
      await this.#deps.stream.trim(lastId);
    }
    // Only now: a row that says `accepted` really never reached its outbox, it is not just behind.
    if (!signal.aborted) await this.#recover();
  }

  async #leads(): Promise<boolean> {
    const now = this.#deps.clock.monotonicMs();
    if (now < this.#leadsUntil - (this.#leadMs * 2) / 3) return true;
    const leads = await this.#deps.stream.lead(this.#leadMs);
    this.#leadsUntil = leads ? now + this.#leadMs : Number.NEGATIVE_INFINITY;
    return leads;
  }

  async #apply(events: readonly LedgerEvent[]): Promise<void> {
    for (let at = 0; at < events.length; at += EVENTS_AT_ONCE) {
      await this.#applyOrSkip(events.slice(at, at + EVENTS_AT_ONCE));
    }
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
  Math.round((EVENTS_A_LOOK * count) / Math.max(1, events));

function eventsOf(entries: readonly StreamEntry[]): LedgerEvent[] {
  // A task that is claimed and sent within one look is named once: the name is a digest.
  const names = new Map<string, string>();
  const nameOf = (sessionId: string, taskId: string): string => {
    const key = `${sessionId}\n${taskId}`;
    const name = names.get(key) ?? whatsappMessageId(sessionId, taskId);
    names.set(key, name);
    return name;
  };
  const events: LedgerEvent[] = [];
  for (const entry of entries) {
    if (entry.taskIds.length === 0) events.push(eventOf(entry, null, entry.whatsappId));
    // Known from the first delivery on, so that a receipt which overtakes its ack finds its task.
    const named = entry.type === 'claimed' || entry.type === 'sent';
    for (const taskId of entry.taskIds) {
      const whatsappId = entry.whatsappId ?? (named ? nameOf(entry.sessionId, taskId) : undefined);
      events.push(eventOf(entry, taskId, whatsappId));
    }
  }
  return events;
}

function eventOf(
  { type, sessionId, at, attempts, reason, payload }: StreamEntry,
  taskId: string | null,
  whatsappId: string | undefined,
): LedgerEvent {
  const event: LedgerEvent = { type, sessionId, taskId, at };
  if (attempts !== undefined) event.attempts = attempts;
  if (reason !== undefined) event.reason = reason;
  if (whatsappId !== undefined) event.whatsappId = whatsappId;
  if (payload !== undefined) event.payload = payload;
  return event;
}
