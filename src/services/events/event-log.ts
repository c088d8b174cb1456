import { type Clock, toIso } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { EventLog, EventSignal, EventStore, NewEvent } from './ports.ts';

export interface EventLogDeps {
  store: EventStore;
  signal: EventSignal;
  clock: Clock;
  log: Logger;
}

interface Waiting {
  event: NewEvent;
  resolve(): void;
  reject(error: unknown): void;
}

const MAX_BATCH = 200;

/** Writes in batches: what is recorded while a write is under way shares the next transaction. */
export class StoredEventLog implements EventLog {
  readonly #deps: EventLogDeps;
  #waiting: Waiting[] = [];
  #writing = false;

  constructor(deps: EventLogDeps) {
    this.#deps = deps;
  }

  record(event: NewEvent): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ event, resolve, reject });
      if (!this.#writing) {
        this.#writing = true;
        void this.#write();
      }
    });
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_BATCH);
      try {
        const events = batch.map(({ event }) => event);
        await this.#deps.store.append(events, toIso(this.#deps.clock.nowMs()));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
        continue;
      }
      await announce(this.#deps.signal, this.#deps.log);
    }
    this.#writing = false;
  }
}

/** The events are stored: that the call to read them got lost costs a second, and is nobody's failure. */
export async function announce(signal: EventSignal, log: Logger): Promise<void> {
  try {
    await signal.announce();
  } catch (error) {
    log.debug({ error: messageOf(error) }, 'new events could not be announced');
  }
}
