import type { Clock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import type { Incarnations, RestorablePart } from './ports.ts';

export interface RestorationDeps {
  incarnations: Incarnations;
  /** What the server still says of the past, and SQL has not heard yet. */
  backlog(): Promise<number>;
  parts: readonly RestorablePart[];
  clock: Clock;
  log: Logger;
  /** How often a server that gives no cause for doubt is looked at. */
  intervalMs?: number;
}

const INTERVAL_MS = 1000;
/** How often one is that is not settled yet, or does not answer. */
const UNSETTLED_MS = 100;
/** How often the right to restore is renewed. */
const RENEW_MS = 2000;

/** So long a start waits for a server to be brought up to date; then it goes on behind. */
const START_MS = 10_000;

/**
 * Brings a Redis that was started anew up to what SQL has promised, before anybody decides anything on its data.
 * One process does it; the others are refused by the fence until it is done. It looks when there is cause for doubt
 * (the connection was made anew, a script was refused); the slow look between is for what tells nobody.
 */
export class Restoration implements Service {
  readonly #deps: RestorationDeps;
  readonly #loop: Loop;
  #unsubscribe: (() => void) | undefined;

  constructor(deps: RestorationDeps) {
    this.#deps = deps;
    this.#loop = new Loop({
      name: 'restoration',
      intervalMs: deps.intervalMs ?? INTERVAL_MS,
      clock: deps.clock,
      log: deps.log,
      run: (signal) => this.#look(signal),
    });
  }

  /** Resolves when the present server is settled, or after ten seconds. */
  async start(): Promise<void> {
    const { clock, log, incarnations } = this.#deps;
    const signal = AbortSignal.timeout(START_MS);
    while (!signal.aborted) {
      try {
        if (await this.pass(signal)) break;
      } catch (error) {
        log.warn({ error: messageOf(error) }, 'what Redis may have lost could not be put back yet');
      }
      await clock.sleep(UNSETTLED_MS);
    }
    this.#unsubscribe ??= incarnations.onDoubt(() => this.#loop.wake());
    await this.#loop.start();
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    await this.#loop.stop();
  }

  async #look(signal: AbortSignal): Promise<void> {
    let settled = false;
    try {
      settled = await this.pass(signal);
    } finally {
      // Refused requests are doubts too: within the pass, so that they do not make it run all the time.
      if (!settled) {
        await this.#deps.clock.sleep(UNSETTLED_MS, signal);
        this.#loop.wake();
      }
    }
  }

  /** @returns whether the server is settled */
  async pass(signal: AbortSignal): Promise<boolean> {
    const { incarnations, backlog, parts, clock, log } = this.#deps;
    const runId = await incarnations.unsettled();
    if (runId === null) return true;
    if (!(await incarnations.lead())) return false;
    // First SQL hears everything that the server can tell.
    if ((await backlog()) > 0) return false;
    const startedAt = clock.monotonicMs();
    let changed = 0;
    await this.#leading(signal, async (led) => {
      for (const part of parts) changed += await part.restore(runId, led);
    });
    if (!(await incarnations.settle(runId))) return false;
    const tookMs = Math.round(clock.monotonicMs() - startedAt);
    if (changed > 0) log.warn({ changed, tookMs }, 'Redis had lost data; it was put back from the database');
    else log.info({ tookMs }, 'Redis was started anew; nothing was lost');
    await this.#rewriteLog();
    return true;
  }

  /** Keeps the right to restore for as long as the work takes; without it the work ends. */
  async #leading(signal: AbortSignal, work: (led: AbortSignal) => Promise<void>): Promise<void> {
    const { incarnations, clock } = this.#deps;
    const over = new AbortController();
    const renew = async (): Promise<void> => {
      while (!over.signal.aborted) {
        await clock.sleep(RENEW_MS, over.signal);
        // Without an answer from the server the work does not get on either, and may be with the next one.
        const leads = await incarnations.lead().catch(() => true);
        if (!leads) over.abort(new Error('another process restores'));
      }
    };
    const renewing = renew().catch(() => undefined); // the end of its last wait
    try {
      await work(AbortSignal.any([signal, over.signal]));
    } finally {
      over.abort();
      await renewing;
    }
  }

  /**
   * A log that was cut off in the middle of a script keeps the half that is left of it. The server leaves it out
   * when it loads the log, but carries it out at its next start, together with what was written behind it.
   */
  async #rewriteLog(): Promise<void> {
    try {
      await this.#deps.incarnations.rewriteLog();
    } catch (error) {
      // Forbidden, or under way already. What a half script does is repaired by the next restoration.
      this.#deps.log.debug({ error: messageOf(error) }, 'Redis did not write its log anew');
    }
  }
}
