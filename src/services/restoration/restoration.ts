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
  intervalMs?: number;
}

/** So long a start waits for a server to be brought up to date; then it goes on behind. */
const START_MS = 10_000;

/**
 * Brings a Redis that was started anew up to what SQL has promised, before anybody decides anything on its data.
 * One process does it; the others are refused by the fence until it is done.
 */
export class Restoration implements Service {
  readonly #deps: RestorationDeps;
  readonly #loop: Loop;

  constructor(deps: RestorationDeps) {
    this.#deps = deps;
    this.#loop = new Loop({
      name: 'restoration',
      intervalMs: deps.intervalMs ?? 100,
      clock: deps.clock,
      log: deps.log,
      run: async (signal) => void (await this.pass(signal)),
    });
  }

  /** Resolves when the present server is settled, or after ten seconds. */
  async start(): Promise<void> {
    const { clock, log } = this.#deps;
    const signal = AbortSignal.timeout(START_MS);
    while (!signal.aborted) {
      try {
        if (await this.pass(signal)) break;
      } catch (error) {
        log.warn({ error: messageOf(error) }, 'what Redis may have lost could not be put back yet');
      }
      await clock.sleep(100);
    }
    await this.#loop.start();
  }

  async stop(): Promise<void> {
    await this.#loop.stop();
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
    for (const part of parts) changed += await part.restore(runId, signal);
    await incarnations.settle(runId);
    const tookMs = Math.round(clock.monotonicMs() - startedAt);
    if (changed > 0) log.warn({ changed, tookMs }, 'Redis had lost data; it was put back from the database');
    else log.info({ tookMs }, 'Redis was started anew; nothing was lost');
    await this.#rewriteLog();
    return true;
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
