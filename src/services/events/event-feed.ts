import type { Clock } from '../../kernel/clock.ts';
import { isAbortError } from '../../kernel/errors.ts';
import type { EventFilter, EventSignal, EventStore, StoredEvent } from './ports.ts';

export interface EventFeedDeps {
  store: EventStore;
  signal: EventSignal;
  clock: Clock;
  /** A reader that heard nothing looks on its own after this time. */
  pollMs?: number;
}

const BATCH = 200;

/** Reads the log as it grows, for any number of readers over one subscription. */
export class EventFeed {
  readonly #deps: EventFeedDeps;
  readonly #wakers = new Set<() => void>();
  #unsubscribe: (() => void) | undefined;

  constructor(deps: EventFeedDeps) {
    this.#deps = deps;
  }

  /** Where a reader begins that wants only what comes from now on. */
  latestId(): Promise<number> {
    return this.#deps.store.latestId();
  }

  /**
   * Events after `afterId` in bounded batches, for ever, until the signal is aborted. An empty batch comes
   * after each poll without events, so that the reader can show that it is alive.
   */
  async *read(afterId: number, filter: EventFilter, signal: AbortSignal): AsyncGenerator<StoredEvent[]> {
    let position = afterId;
    let woken = true;
    let early = new AbortController();
    const wake = (): void => {
      woken = true;
      early.abort();
    };
    this.#subscribe(wake);
    try {
      while (!signal.aborted) {
        woken = false;
        early = new AbortController();
        const batch = await this.#deps.store.after(position, filter, BATCH);
        position = batch.at(-1)?.id ?? position;
        yield batch;
        if (batch.length === BATCH || woken) continue;
        await this.#wait(AbortSignal.any([signal, early.signal]));
      }
    } finally {
      this.#unsubscribeOne(wake);
    }
  }

  async #wait(signal: AbortSignal): Promise<void> {
    try {
      await this.#deps.clock.sleep(this.#deps.pollMs ?? 5000, signal);
    } catch (error) {
      if (!isAbortError(error)) throw error;
    }
  }

  #subscribe(wake: () => void): void {
    this.#wakers.add(wake);
    this.#unsubscribe ??= this.#deps.signal.onAnnounce(() => {
      for (const waker of this.#wakers) waker();
    });
  }

  #unsubscribeOne(wake: () => void): void {
    this.#wakers.delete(wake);
    if (this.#wakers.size > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }
}
