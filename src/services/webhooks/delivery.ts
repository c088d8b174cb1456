import { type BackoffPolicy, backoffMs } from '../../domain/backoff.ts';
import { judgeAttempt, type WebhookAnswer, whyNot } from '../../domain/webhook-verdict.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import { Loop, type Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import { GroupCommit } from '../ledger/group-commit.ts';
import { HostSlots } from './host-slots.ts';
import { webhookBody, webhookHeaders } from './payload.ts';
import type { WebhookEvent, WebhookLead, WebhookSender, WebhookStore } from './ports.ts';

export interface WebhookPolicy {
  /** For how long an event is tried, from when it came to wait. */
  retryForMs: number;
  /** The most that wait for one session; also the most that stay parked. */
  backlog: number;
  /** Requests under way at the same time. */
  atOnce: number;
  atOncePerHost: number;
  /** Keys that sign; none leaves requests unsigned. */
  keys: readonly Buffer[];
}

export type WebhookOutcome = 'delivered' | 'failed' | 'parked';

export interface WebhookDeliveryDeps {
  store: WebhookStore;
  sender: WebhookSender;
  lead: WebhookLead;
  policy: WebhookPolicy;
  /** Called when there may be something new. @returns unsubscribes */
  onNews(listener: () => void): () => void;
  onOutcome(outcome: WebhookOutcome, count: number): void;
  clock: Clock;
  log: Logger;
  backoff?: BackoffPolicy;
  intervalMs?: number;
}

const BACKOFF: BackoffPolicy = { firstMs: 1000, maxMs: 300_000, jitter: 0.3 };
/** What a receiver may ask for with `Retry-After`. */
const MAX_RETRY_AFTER_MS = 3_600_000;
/** Then the next session of the same host has its turn. */
const EVENTS_A_TURN = 16;
/** Finds what an announcement that was lost would have told, and what a person has set going again. */
const LOOK_AT_ALL_EVERY_MS = 10_000;
const ASK_EVERY_MS = 1000;
const BREATH_MS = 20;
/** Shorter than the lease, which is not renewed any more. */
const LAST_ANSWERS_MS = 3000;

/**
 * Delivers what webhooks have to tell: one process at a time, each session's events one after the other, sessions
 * beside each other. An event leaves the store after the receiver has said yes; until then a failed one holds up
 * those behind it, of its own session alone.
 */
export class WebhookDelivery implements Service {
  readonly #deps: WebhookDeliveryDeps;
  readonly #loop: Loop;
  readonly #slots: HostSlots;
  /** Deliveries of many sessions share a commit. */
  readonly #settled: GroupCommit<number, void>;
  #abort = new AbortController();
  #stopping = false;
  #unsubscribe: (() => void) | undefined;
  /** Sessions whose events are being delivered; true if there is news since it last looked. */
  readonly #active = new Map<string, boolean>();
  readonly #turns = new Set<Promise<void>>();
  /** Sessions that wait after a failure, and until when on our own clock. */
  readonly #resting = new Map<string, number>();
  /** In a row, by session. */
  readonly #failures = new Map<string, number>();
  /** Null while another process leads. */
  #seenSeq: number | null = null;
  #lookedAtAll = Number.NEGATIVE_INFINITY;
  #askedAt = Number.NEGATIVE_INFINITY;
  #saidUnsigned = false;

  constructor(deps: WebhookDeliveryDeps) {
    this.#deps = deps;
    this.#slots = new HostSlots({ total: deps.policy.atOnce, perHost: deps.policy.atOncePerHost });
    this.#settled = new GroupCommit(async (seqs) => {
      await deps.store.delivered(seqs);
      return seqs.map(() => undefined);
    });
    this.#loop = new Loop({
      name: 'webhooks',
      intervalMs: deps.intervalMs ?? 1000,
      clock: deps.clock,
      log: deps.log,
      run: (signal) => this.#pass(signal),
    });
  }

  async start(): Promise<void> {
    if (this.#unsubscribe) return;
    this.#abort = new AbortController();
    this.#stopping = false;
    this.#unsubscribe = this.#deps.onNews(() => {
      if (this.#seenSeq !== null) this.#loop.wake();
    });
    await this.#loop.start();
  }

  /** Waits a little for what is under way; what has no answer then is told again by whoever leads next. */
  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#stopping = true;
    await this.#loop.stop();
    const turns = Promise.all(this.#turns);
    const inTime = new AbortController();
    await Promise.race([turns, this.#deps.clock.sleep(LAST_ANSWERS_MS, inTime.signal)]);
    inTime.abort();
    this.#abort.abort();
    await turns;
    this.#forget();
    await this.#deps.sender.close();
    try {
      await this.#deps.lead.release();
    } catch (error) {
      // It runs out by itself.
      this.#deps.log.debug({ error: messageOf(error) }, 'could not hand over the delivery of webhooks');
    }
  }

  /** Somebody has set going again what had to wait. */
  look(): void {
    this.#lookedAtAll = Number.NEGATIVE_INFINITY;
    if (this.#seenSeq !== null) this.#loop.wake();
  }

  async #pass(signal: AbortSignal): Promise<void> {
    const { store, clock } = this.#deps;
    if (!(await this.#leads())) return this.#forget();
    const now = clock.monotonicMs();
    if (this.#seenSeq === null) {
      this.#seenSeq = await store.newest();
      this.#lookedAtAll = Number.NEGATIVE_INFINITY;
    }
    const { sessionIds, seq } = await store.since(this.#seenSeq);
    this.#seenSeq = seq;
    for (const sessionId of sessionIds) {
      if (!this.#resting.has(sessionId)) this.#begin(sessionId);
    }
    for (const [sessionId, until] of [...this.#resting]) if (until <= now) this.#begin(sessionId);
    if (now - this.#lookedAtAll >= LOOK_AT_ALL_EVERY_MS) {
      this.#lookedAtAll = now;
      const nowIso = toIso(clock.nowMs());
      for (const { sessionId, notBefore } of await store.heads()) {
        if (notBefore === null || notBefore <= nowIso) this.#begin(sessionId);
      }
    }
    // What is announced meanwhile shares one look.
    await clock.sleep(BREATH_MS, signal);
  }

  async #leads(): Promise<boolean> {
    const now = this.#deps.clock.monotonicMs();
    if (now - this.#askedAt < ASK_EVERY_MS && this.#deps.lead.fence !== null) return true;
    this.#askedAt = now;
    return await this.#deps.lead.acquire();
  }

  #forget(): void {
    this.#seenSeq = null;
    this.#resting.clear();
    this.#failures.clear();
  }

  #begin(sessionId: string): void {
    this.#resting.delete(sessionId);
    if (this.#active.has(sessionId)) {
      this.#active.set(sessionId, true);
      return;
    }
    this.#active.set(sessionId, false);
    const turn = this.#deliver(sessionId)
      .catch((error: unknown) => {
        // The database, as a rule: looked at again with all others.
        if (this.#goesOn())
          this.#deps.log.debug({ sessionId, error: messageOf(error) }, 'webhook interrupted');
        this.#active.delete(sessionId);
      })
      .finally(() => this.#turns.delete(turn));
    this.#turns.add(turn);
  }

  #goesOn(): boolean {
    return !this.#stopping && this.#deps.lead.fence !== null;
  }

  /** Until nothing waits, or the first one has to wait. */
  async #deliver(sessionId: string): Promise<void> {
    for (;;) {
      this.#active.set(sessionId, false);
      const url = this.#goesOn() ? await this.#deps.store.url(sessionId) : null;
      const more = url !== null && (await this.#slots.run(hostOf(url), () => this.#turn(sessionId, url)));
      if (more || (url !== null && !this.#resting.has(sessionId) && this.#active.get(sessionId))) continue;
      this.#active.delete(sessionId);
      return;
    }
  }

  /** @returns whether there may be more to deliver now */
  async #turn(sessionId: string, expectedUrl: string): Promise<boolean> {
    const { store, policy, clock } = this.#deps;
    for (let told = 0; told < EVENTS_A_TURN; told += 1) {
      if (!this.#goesOn()) return false;
      const { url, event } = await store.next(sessionId);
      if (url === null || event === null) return false;
      // It has just been changed; the place that we hold is at another host.
      if (hostOf(url) !== hostOf(expectedUrl)) return true;
      if (!(await this.#attempt(url, event))) return false;
    }
    this.#parked(sessionId, await store.bound(sessionId, policy.backlog, TOO_MANY, toIso(clock.nowMs())));
    return true;
  }

  /** @returns whether to go on with the next one */
  async #attempt(url: string, event: WebhookEvent): Promise<boolean> {
    const { store, sender, policy, clock, log, onOutcome } = this.#deps;
    const { sessionId, seq } = event;
    const body = webhookBody(event);
    if (policy.keys.length === 0 && !this.#saidUnsigned) {
      this.#saidUnsigned = true;
      log.warn({}, 'webhooks go out unsigned: set WEBHOOK_SIGNING_SECRET');
    }
    const headers = webhookHeaders(event, body, clock.nowMs(), policy.keys);
    const answer = await sender.send({ url, headers, body }, this.#abort.signal);
    const attempts = event.attempts + 1;
    const nowMs = clock.nowMs();
    const ageMs = nowMs - Date.parse(event.queuedAt);
    const verdict = judgeAttempt(answer, { attempts, ageMs, retryForMs: policy.retryForMs });
    const { status } = answer;
    if (status === null || status === 429 || status >= 500) this.#slots.failed(hostOf(url));
    else this.#slots.answered(hostOf(url));
    if (verdict === 'delivered') {
      this.#failures.delete(sessionId);
      await this.#settled.add([seq]);
      onOutcome('delivered', 1);
      return true;
    }
    const why = whyNot(answer);
    const now = toIso(nowMs);
    log.debug({ sessionId, attempts, why }, 'webhook failed');
    onOutcome('failed', 1);
    if (verdict === 'refused') {
      await store.park(seq, attempts, why, now);
      this.#parked(sessionId, 1);
      return true;
    }
    const delayMs = this.#delay(sessionId, answer);
    const notBefore = toIso(nowMs + delayMs);
    await store.failed(seq, attempts, why, notBefore);
    const parked =
      (verdict === 'expired'
        ? await store.parkOld(sessionId, toIso(nowMs - policy.retryForMs), why, now)
        : 0) + (await store.bound(sessionId, policy.backlog, TOO_MANY, now));
    this.#parked(sessionId, parked);
    if (parked > 0) await store.rest(sessionId, notBefore);
    this.#resting.set(sessionId, clock.monotonicMs() + delayMs);
    return false;
  }

  #delay(sessionId: string, { retryAfterMs }: WebhookAnswer): number {
    const failures = (this.#failures.get(sessionId) ?? 0) + 1;
    this.#failures.set(sessionId, failures);
    const own = backoffMs(failures, this.#deps.backoff ?? BACKOFF, Math.random());
    return Math.max(own, Math.min(retryAfterMs ?? 0, MAX_RETRY_AFTER_MS));
  }

  #parked(sessionId: string, count: number): void {
    if (count === 0) return;
    this.#deps.onOutcome('parked', count);
    this.#deps.log.warn(
      { sessionId, events: count },
      'webhook events are given up until somebody replays them',
    );
  }
}

const TOO_MANY = 'too many were waiting';

const hostOf = (url: string): string => new URL(url).host;
