import type { Clock } from '../kernel/clock.ts';
import { isAbortError, messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/log.ts';
import type { OrchestratorClient, WorkerEvent } from './orchestrator-client.ts';
import { OrchestratorRefusal } from './orchestrator-http.ts';
import { retryDelayMs } from './retry-delay.ts';

export interface EventReporterDeps {
  client: Pick<OrchestratorClient, 'event'>;
  clock: Clock;
  log: Logger;
}

interface Waiting {
  event: WorkerEvent;
  /** A later event with the same key replaces this one. */
  key: string | undefined;
  attempts: number;
}

/** Inbound messages and receipts that may wait for the orchestrator; beyond it the oldest are given up. */
const CAPACITY = 2_000;
const FIRST_RETRY_MS = 200;

/** Reports events in order, one at a time, each until the orchestrator has it. */
export class EventReporter {
  readonly #deps: EventReporterDeps;
  readonly #stop = new AbortController();
  #queue: Waiting[] = [];
  #sending: Promise<void> | undefined;
  #lost = 0;

  constructor(deps: EventReporterDeps) {
    this.#deps = deps;
  }

  /** @param replaces a key: an event that waits under it is replaced, since only the newest matters */
  report(type: WorkerEvent['type'], data: Record<string, unknown>, replaces?: string): void {
    if (this.#stop.signal.aborted) return;
    const event = { type, at: this.#deps.clock.nowMs(), data };
    if (replaces !== undefined) this.#queue = this.#queue.filter(({ key }) => key !== replaces);
    this.#queue.push({ event, key: replaces, attempts: 0 });
    if (this.#queue.length > CAPACITY) this.#giveUpOldest();
    this.#sending ??= this.#drain().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Resolves when all is reported, or after `timeoutMs`. */
  async flush(timeoutMs: number): Promise<void> {
    const given = new AbortController();
    await Promise.race([
      this.#sending,
      this.#deps.clock.sleep(timeoutMs, given.signal).catch(() => undefined),
    ]).finally(() => given.abort());
  }

  stop(): void {
    this.#stop.abort(new Error('the worker stops'));
  }

  async #drain(): Promise<void> {
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      const done = await this.#try(next);
      if (this.#stop.signal.aborted) return;
      if (done) this.#queue = this.#queue.filter((waiting) => waiting !== next);
    }
  }

  /** @returns whether to go on to the next */
  async #try(waiting: Waiting): Promise<boolean> {
    const { client, clock, log } = this.#deps;
    try {
      await client.event(waiting.event, this.#stop.signal);
      return true;
    } catch (error) {
      if (this.#stop.signal.aborted) return false;
      const { type } = waiting.event;
      if (error instanceof OrchestratorRefusal && !error.retryable) {
        log.warn({ type, code: error.code }, 'an event was refused');
        return true;
      }
      waiting.attempts += 1;
      if (waiting.attempts === 1)
        log.warn({ type, error: messageOf(error) }, 'an event waits to be reported');
      try {
        await clock.sleep(retryDelayMs(waiting.attempts, FIRST_RETRY_MS), this.#stop.signal);
      } catch (aborted) {
        if (!this.#stop.signal.aborted && !isAbortError(aborted)) throw aborted;
      }
      return false;
    }
  }

  #giveUpOldest(): void {
    // State changes stay: the orchestrator's picture of the session hangs on them.
    const index = this.#queue.findIndex(({ event }) => event.type === 'MESSAGE' || event.type === 'RECEIPT');
    this.#queue.splice(Math.max(index, 0), 1);
    this.#lost += 1;
    if (this.#lost % 100 === 1) this.#deps.log.error({ lost: this.#lost }, 'events are lost: too many wait');
  }
}
