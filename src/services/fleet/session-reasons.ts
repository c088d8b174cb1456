import { NO_PLACE } from '../../domain/fleet-plan.ts';
import { isWanted } from '../../domain/session-state.ts';
import { isUnknownReason, unknownReason } from '../../domain/unknown-worker.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { SessionRecord, SessionStore } from '../sessions/ports.ts';

/** What a person is told beside the state of a session, while nothing can be done about it. */
export class SessionReasons {
  readonly #store: SessionStore;
  readonly #clock: Clock;

  constructor(store: SessionStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Why it is not started now. */
  async hold(sessionId: string, reason: string): Promise<void> {
    const session = await this.#store.find(sessionId);
    if (session?.state === 'pending' && session.reason !== reason) await this.#write(sessionId, reason);
  }

  /** That nothing is known of its worker; null when that is over. */
  async explain(sessionId: string, reason: string | null): Promise<void> {
    const session = await this.#store.find(sessionId);
    // What was said meanwhile about something else stays.
    if (session && (reason !== null || isUnknownReason(session.reason))) await this.#write(sessionId, reason);
  }

  /** Nothing at all is known: each session that is to run says so. */
  async explainAll(why: string): Promise<void> {
    const reason = unknownReason(why);
    for (const session of await this.#store.all()) {
      if (isWanted(session) && session.reason !== reason) await this.#write(session.id, reason);
    }
  }

  /** Why the worker before ended, of one that is to be started again: it stays to be read until that is connected. */
  ofLastEnd({ notBefore, reason }: SessionRecord): string | null {
    return notBefore === null || reason === NO_PLACE ? null : reason;
  }

  async #write(sessionId: string, reason: string | null): Promise<void> {
    await this.#store.update(sessionId, { reason }, {}, toIso(this.#clock.nowMs()));
  }
}
