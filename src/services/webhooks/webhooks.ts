import { type Clock, toIso } from '../../kernel/clock.ts';
import { notFound } from '../../kernel/errors.ts';
import { webhookId } from './payload.ts';
import type { DeadWebhookEvent, WebhookStore } from './ports.ts';

export interface WebhooksDeps {
  store: WebhookStore;
  /** Whether what is delivered is signed. */
  signed: boolean;
  /** What had to wait need not any more; another process that delivers finds out within ten seconds. */
  onSetGoing(): void;
  clock: Clock;
}

export interface WebhookView {
  url: string | null;
  signed: boolean;
  waiting: number;
  dead: number;
  oldestAt: string | null;
  attempts: number;
  lastError: string | null;
  nextAttemptAt: string | null;
}

/** What people see and want of the webhook of a session. */
export class Webhooks {
  readonly #deps: WebhooksDeps;

  constructor(deps: WebhooksDeps) {
    this.#deps = deps;
  }

  /** @throws FlotillaError 404 `unknown_session`; so do the others */
  async view(sessionId: string): Promise<WebhookView> {
    const queue = await this.#deps.store.queue(sessionId);
    if (!queue) throw unknown(sessionId);
    const { url, waiting, dead, head } = queue;
    return {
      url,
      signed: this.#deps.signed,
      waiting,
      dead,
      oldestAt: head?.queuedAt ?? null,
      attempts: head?.attempts ?? 0,
      lastError: head?.lastError ?? null,
      nextAttemptAt: head?.notBefore ?? null,
    };
  }

  /** What waits goes to the new address. */
  async setUrl(sessionId: string, url: string | null): Promise<WebhookView> {
    const { store, clock } = this.#deps;
    if (!(await store.setUrl(sessionId, url, toIso(clock.nowMs())))) throw unknown(sessionId);
    this.#deps.onSetGoing();
    return await this.view(sessionId);
  }

  /** Newest first. */
  async dead(
    sessionId: string,
    { cursor, limit }: { cursor: string | null; limit: number },
  ): Promise<{ events: (DeadWebhookEvent & { id: string })[]; nextCursor: string | null }> {
    const { store } = this.#deps;
    if (!(await store.queue(sessionId))) throw unknown(sessionId);
    const events = await store.dead(sessionId, cursor === null ? null : Number(cursor), limit);
    return {
      events: events.map((event) => ({ ...event, id: webhookId(event) })),
      nextCursor: events.length < limit ? null : String(events.at(-1)?.seq),
    };
  }

  /** All that were given up wait again, before those that came later. @returns how many */
  async replay(sessionId: string): Promise<number> {
    const { store, clock } = this.#deps;
    if (!(await store.queue(sessionId))) throw unknown(sessionId);
    const replayed = await store.revive(sessionId, toIso(clock.nowMs()));
    this.#deps.onSetGoing();
    return replayed;
  }
}

const unknown = (sessionId: string) => notFound('unknown_session', `There is no session ${sessionId}.`);
