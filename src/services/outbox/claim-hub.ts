import type { Clock } from '../../kernel/clock.ts';
import { conflict, messageOf } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import { EmptySessions } from './empty-sessions.ts';
import type { Claim, ClaimOutcome, GoneSignal, OutboxStore, WakeUps } from './ports.ts';
import { TimerWheel } from './timer-wheel.ts';
import { hasUntried, type Line, newLine, newWaiter, served, type Waiter } from './waiting-line.ts';

export interface Poll {
  sessionId: string;
  epoch: number;
  /** Null: the poll's own. */
  requestId: string | null;
  max: number;
  /** 0: answers at once. */
  timeoutMs: number;
}

export interface ClaimHubOptions {
  store: Pick<OutboxStore, 'claim' | 'unclaim' | 'ready'>;
  wakeUps: WakeUps;
  clock: Clock;
  log: Logger;
  /** How often waiting sessions are looked at without having been told to. */
  sweepMs?: number;
}

const SWEEP_STEP = 500;
/** A lease that runs out is looked at a little later: the timers of two machines differ. */
const GRACE_MS = 10;
/** By how much polls may end late, so that many are answered, and asked again, in one turn of the event loop. */
const END_TOGETHER_MS = 100;
/** For so long the first claim of a poll may wait for those of others where nothing is to be expected. */
const CLAIM_TOGETHER_MS = 20;

/**
 * Holds waiting polls in memory. A poll is in its session's line before its first claim is sent, so that no wake-up
 * falls between; one claim per session is under way at a time. A worker that got nothing asks again at once: as long
 * as nobody has said that something has come since, its claim shares its way to Redis with those of others.
 */
export class ClaimHub implements Service {
  readonly #store: ClaimHubOptions['store'];
  readonly #wakeUps: WakeUps;
  readonly #log: Logger;
  readonly #wheel: TimerWheel;
  readonly #sweep: Loop;
  readonly #lines = new Map<string, Line>();
  readonly #empty = new EmptySessions();
  /** With a poll whose first claim is in no hurry. */
  readonly #unhurried = new Set<Line>();
  readonly #requestPrefix = newId('poll');
  #requests = 0;
  #stopped = false;
  #unsubscribe: (() => void) | undefined;

  constructor({ store, wakeUps, clock, log, sweepMs = 1000 }: ClaimHubOptions) {
    this.#store = store;
    this.#wakeUps = wakeUps;
    this.#log = log;
    this.#wheel = new TimerWheel(clock);
    this.#sweep = new Loop({
      name: 'outbox sweep',
      intervalMs: sweepMs * (0.9 + Math.random() * 0.2),
      clock,
      log,
      run: (signal) => this.#sweepOnce(signal),
    });
  }

  async start(): Promise<void> {
    this.#unsubscribe ??= this.#wakeUps.subscribe((sessionId) => this.wake(sessionId));
    await this.#sweep.start();
  }

  /** Answers all waiting polls with nothing, at once. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unsubscribe?.();
    for (const line of this.#lines.values()) {
      for (const waiter of line.waiters) this.#settle(line, waiter, null);
    }
    await this.#sweep.stop();
    await Promise.all([...this.#lines.values()].map(served));
    this.#wheel.stop();
  }

  get waiting(): number {
    let count = 0;
    for (const line of this.#lines.values()) count += line.waiters.size;
    return count;
  }

  /**
   * Waits for tasks. When `signal` is aborted the poll claims nothing, or gives back what it claimed.
   * @returns null when there was nothing in time, the hub is stopping, or the client has gone
   * @throws FlotillaError `stale_epoch`; errors of the store
   */
  claim(poll: Poll, signal: GoneSignal): Promise<Claim | null> {
    if (this.#stopped || signal.aborted) return Promise.resolve(null);
    return new Promise((resolve, reject) => {
      const line = this.#lineOf(poll.sessionId);
      const request = {
        sessionId: poll.sessionId,
        epoch: poll.epoch,
        // Always one: the client repeats a script whose answer got lost with its connection.
        requestId: poll.requestId ?? `${this.#requestPrefix}.${++this.#requests}`,
        max: poll.max,
      };
      const waiter = newWaiter(request, poll.timeoutMs === 0, { resolve, reject });
      const cancelTimeout = waiter.once
        ? () => undefined
        : this.#wheel.after(
            poll.timeoutMs,
            () => {
              if (waiter.claiming) waiter.late = true;
              else this.#giveUp(line, waiter);
            },
            END_TOGETHER_MS,
          );
      const onAbort = () => this.#settle(line, waiter, null);
      signal.addEventListener('abort', onAbort);
      waiter.release = () => {
        cancelTimeout();
        signal.removeEventListener('abort', onAbort);
      };
      line.waiters.add(waiter);
      if (line.emptyFor === poll.epoch && !waiter.once) this.#pumpSoon(line);
      else this.#pump(line);
    });
  }

  /** Something may be there for this session. @returns whether a poll waits for it */
  wake(sessionId: string): boolean {
    const line = this.#lines.get(sessionId);
    if (!line) {
      this.#empty.forget(sessionId);
      return false;
    }
    line.dirty = true;
    line.emptyFor = null;
    if (line.waiters.size === 0) return false;
    this.#pump(line);
    return true;
  }

  #lineOf(sessionId: string): Line {
    let line = this.#lines.get(sessionId);
    if (!line) {
      line = newLine(sessionId, this.#empty.take(sessionId));
      this.#lines.set(sessionId, line);
    }
    return line;
  }

  #pumpSoon(line: Line): void {
    if (this.#unhurried.size === 0) {
      this.#wheel.after(CLAIM_TOGETHER_MS, () => {
        const lines = [...this.#unhurried];
        this.#unhurried.clear();
        for (const each of lines) if (hasUntried(each)) this.#pump(each);
      });
    }
    this.#unhurried.add(line);
  }

  #pump(line: Line): void {
    if (line.busy) return;
    line.busy = true;
    void this.#run(line);
  }

  /**
   * Serves the line from its head, until nothing is left. Whoever has not had a claim of its own yet gets one in any
   * case. It is one function because each that waits for another is kept, and copied by the collector of garbage.
   */
  async #run(line: Line): Promise<void> {
    try {
      do {
        line.dirty = false;
        let nothingLeft = false;
        for (const waiter of line.waiters) {
          if (waiter.done || (nothingLeft && waiter.attempted)) continue;
          const first = !waiter.attempted;
          waiter.attempted = true;
          waiter.claiming = true;
          let outcome: ClaimOutcome;
          try {
            outcome = await this.#store.claim(waiter.request);
          } catch (error) {
            this.#fail(line, waiter, first, error);
            nothingLeft = true;
            continue;
          }
          const hasGone = waiter.done;
          if (!this.#take(line, waiter, outcome)) nothingLeft = true;
          if (hasGone && outcome.kind === 'tasks') await this.#giveBack(line.sessionId, outcome);
        }
      } while (line.waiters.size > 0 && (line.dirty || hasUntried(line)));
    } catch (error) {
      this.#log.error({ error: messageOf(error) }, 'serving waiting polls failed');
    }
    line.busy = false;
    if (line.dirty) line.emptyFor = null;
    if (line.waiters.size === 0) this.#drop(line);
    line.onServed?.();
  }

  #fail(line: Line, waiter: Waiter, first: boolean, error: unknown): void {
    waiter.claiming = false;
    waiter.error = error;
    line.emptyFor = null;
    // A poll that has begun to wait outlasts a short outage.
    if (first || waiter.late) this.#settle(line, waiter, null, error);
  }

  /** @returns whether the next in line should be tried too */
  #take(line: Line, waiter: Waiter, outcome: ClaimOutcome): boolean {
    waiter.claiming = false;
    waiter.error = undefined;
    line.emptyFor = outcome.kind === 'empty' ? waiter.request.epoch : null;
    switch (outcome.kind) {
      case 'tasks':
        this.#settle(line, waiter, outcome);
        return true;
      case 'stale':
        this.#settle(line, waiter, null, staleEpoch());
        // The new owner may wait elsewhere, and was not told of what came while this one waited.
        this.#wakeUps.publish(line.sessionId);
        return true;
      case 'held':
      case 'delayed':
        this.#wakeLater(line, outcome.forMs);
        break;
      case 'empty':
        break;
    }
    if (waiter.late || waiter.once) this.#settle(line, waiter, null);
    return false;
  }

  /** A repeated claim stays as it is: its first answer may have arrived. */
  async #giveBack(sessionId: string, claim: Claim): Promise<void> {
    if (claim.repeated) return;
    try {
      await this.#store.unclaim(sessionId, claim.claimId);
      this.#wakeUps.publish(sessionId);
    } catch (error) {
      // Its lease runs out.
      this.#log.debug({ sessionId, error: messageOf(error) }, 'a claim could not be given back');
    }
  }

  /** For a claim that was handed out and could not be delivered. */
  giveBack(sessionId: string, claim: Claim): Promise<void> {
    return this.#giveBack(sessionId, claim);
  }

  #giveUp(line: Line, waiter: Waiter): void {
    this.#settle(line, waiter, null, waiter.error);
  }

  #settle(line: Line, waiter: Waiter, claim: Claim | null, error?: unknown): void {
    if (waiter.done) return;
    waiter.done = true;
    waiter.release();
    line.waiters.delete(waiter);
    if (error === undefined) waiter.resolve(claim);
    else waiter.reject(error);
    if (line.waiters.size === 0 && !line.busy) this.#drop(line);
  }

  #drop(line: Line): void {
    line.cancelTimer?.();
    if (this.#lines.get(line.sessionId) !== line) return;
    this.#lines.delete(line.sessionId);
    if (line.emptyFor !== null) this.#empty.remember(line.sessionId, line.emptyFor);
  }

  #wakeLater(line: Line, ms: number): void {
    line.cancelTimer?.();
    line.cancelTimer = this.#wheel.after(ms + GRACE_MS, () => {
      line.cancelTimer = undefined;
      this.wake(line.sessionId);
    });
  }

  /** Finds what was pushed behind our back, and what a lost wake-up should have said. */
  async #sweepOnce(signal: AbortSignal): Promise<void> {
    this.#empty.age();
    const ids = [...this.#lines.keys()];
    for (let at = 0; at < ids.length && !signal.aborted; at += SWEEP_STEP) {
      for (const id of await this.#store.ready(ids.slice(at, at + SWEEP_STEP))) this.wake(id);
    }
  }
}

export const staleEpoch = () =>
  conflict('stale_epoch', 'A newer worker owns this session; this one has to stop.');
