import type { Clock } from './clock.ts';
import { messageOf } from './errors.ts';
import type { Logger } from './log.ts';

/** Something that runs until it is stopped. Both calls may come twice, in any order, and are then no-ops. */
export interface Service {
  start(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * The releasers of a process, run last-in first-out, each at most once.
 * One that fails is logged and does not keep the others from running.
 */
export class ReleaseStack {
  readonly #releasers: { name: string; release: () => Promise<void> | void }[] = [];
  readonly #log: Logger;
  #done: Promise<void> | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  push(name: string, release: () => Promise<void> | void): void {
    this.#releasers.push({ name, release });
  }

  release(): Promise<void> {
    this.#done ??= this.#run();
    return this.#done;
  }

  async #run(): Promise<void> {
    for (let item = this.#releasers.pop(); item; item = this.#releasers.pop()) {
      try {
        await item.release();
      } catch (error) {
        this.#log.warn({ releaser: item.name, error: messageOf(error) }, 'a part did not stop cleanly');
      }
    }
  }
}

export interface LoopOptions {
  name: string;
  intervalMs: number;
  clock: Clock;
  log: Logger;
  /** One pass. Runs never overlap. Whatever it throws is logged; the loop goes on. */
  run(signal: AbortSignal): Promise<void>;
}

/**
 * A pass every `intervalMs`, never two at once; `wake()` asks for one now (during a pass: one more after it).
 */
export class Loop implements Service {
  readonly #options: LoopOptions;
  #abort: AbortController | undefined;
  #running: Promise<void> | undefined;
  #wakeUp: (() => void) | undefined;
  #woken = false;
  #failing = false;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    if (this.#running) return;
    this.#abort = new AbortController();
    this.#running = this.#loop(this.#abort.signal);
  }

  async stop(): Promise<void> {
    this.#abort?.abort();
    this.#wakeUp?.();
    await this.#running;
    this.#running = undefined;
  }

  wake(): void {
    this.#woken = true;
    this.#wakeUp?.();
  }

  async #loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#woken = false;
      await this.#pass(signal);
      if (signal.aborted) return;
      await this.#wait(signal);
    }
  }

  async #pass(signal: AbortSignal): Promise<void> {
    try {
      await this.#options.run(signal);
      if (this.#failing) this.#options.log.info({ loop: this.#options.name }, 'loop recovered');
      this.#failing = false;
    } catch (error) {
      if (signal.aborted) return;
      // Said once per outage: a dependency that is down would otherwise fill the log with one line a tick.
      if (!this.#failing) {
        this.#options.log.warn({ loop: this.#options.name, error: messageOf(error) }, 'loop pass failed');
      }
      this.#failing = true;
    }
  }

  async #wait(signal: AbortSignal): Promise<void> {
    if (this.#woken) return;
    const early = new AbortController();
    this.#wakeUp = () => early.abort();
    try {
      await this.#options.clock.sleep(this.#options.intervalMs, AbortSignal.any([signal, early.signal]));
    } catch {
      // Woken early or stopped: the loop's condition tells which.
    } finally {
      this.#wakeUp = undefined;
    }
  }
}
