/**
 * Sessions whose last poll ended with nothing there, nor in flight, and of which nobody has said since that
 * something has come: whoever polls for one again has no cause to hurry. Forgets what is not asked for soon.
 */
export class EmptySessions {
  /** Session → epoch of the poll. */
  #lately = new Map<string, number>();
  #before = new Map<string, number>();

  remember(sessionId: string, epoch: number): void {
    this.#lately.set(sessionId, epoch);
  }

  forget(sessionId: string): void {
    this.#lately.delete(sessionId);
    this.#before.delete(sessionId);
  }

  /** Forgets it, too. @returns the epoch of the poll; null for a session of which that is not known */
  take(sessionId: string): number | null {
    const epoch = this.#lately.get(sessionId) ?? this.#before.get(sessionId) ?? null;
    if (epoch !== null) this.forget(sessionId);
    return epoch;
  }

  /** To be called now and then: what was remembered before the last call is forgotten. */
  age(): void {
    this.#before = this.#lately;
    this.#lately = new Map();
  }

  get size(): number {
    return this.#lately.size + this.#before.size;
  }
}
