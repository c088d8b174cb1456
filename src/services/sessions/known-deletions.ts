import type { Clock } from '../../kernel/clock.ts';
import type { DeletedSessions, SessionStore } from './ports.ts';

export interface KnownDeletionsDeps {
  store: Pick<SessionStore, 'find' | 'beingDeleted'>;
  deleted: Pick<DeletedSessions, 'has' | 'since'>;
  clock: Clock;
}

const LOOK_AFTER_MS = 2000;
/** What is older is waited for. */
const MOST_MS = 5000;
/** By how much the clocks of two machines may differ. */
const OVERLAP_MS = 3_600_000;

/**
 * Which sessions are deleted, without a question to a store for each enqueue: one look now and then serves them all,
 * and nobody waits for it while enqueues keep coming. A deletion elsewhere is known here at most 5 s later. That a
 * session is deleted is never said from memory alone.
 */
export class KnownDeletions {
  readonly #deps: KnownDeletionsDeps;
  readonly #ids = new Set<string>();
  #newestMs = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;

  constructor(deps: KnownDeletionsDeps) {
    this.#deps = deps;
  }

  /** This process deletes one. */
  note(sessionId: string): void {
    this.#ids.add(sessionId);
  }

  async isDeleted(sessionId: string): Promise<boolean> {
    const age = this.#deps.clock.monotonicMs() - this.#lookedAt;
    if (age > MOST_MS) await this.#look();
    // Should it fail, the next one who has to wait for it hears why.
    else if (age > LOOK_AFTER_MS) this.#look().catch(() => undefined);
    return this.#ids.has(sessionId) && (await this.#confirm(sessionId));
  }

  async #confirm(sessionId: string): Promise<boolean> {
    const session = await this.#deps.store.find(sessionId);
    return session ? session.desired === 'deleted' : await this.#deps.deleted.has(sessionId);
  }

  #look(): Promise<void> {
    this.#looking ??= this.#lookNow().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookNow(): Promise<void> {
    const { store, deleted, clock } = this.#deps;
    const startedAt = clock.monotonicMs();
    // In this order: who leaves between the two looks is found by the second.
    for (const sessionId of await store.beingDeleted()) this.#ids.add(sessionId);
    for (const { sessionId, atMs } of await deleted.since(this.#newestMs - OVERLAP_MS)) {
      this.#ids.add(sessionId);
      this.#newestMs = Math.max(this.#newestMs, atMs);
    }
    this.#lookedAt = startedAt;
  }
}
