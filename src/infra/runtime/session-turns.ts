/** Lets calls for one session go one after the other, and those for different sessions side by side. */
export class SessionTurns {
  readonly #last = new Map<string, Promise<unknown>>();

  /** When all earlier ones for this session are over, however they ended. */
  take<T>(sessionId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(sessionId) ?? Promise.resolve();
    const mine = before.then(work, work);
    const done = mine
      .catch(() => undefined)
      .then(() => {
        if (this.#last.get(sessionId) === done) this.#last.delete(sessionId);
      });
    this.#last.set(sessionId, done);
    return mine;
  }

  /** Whether something is under way, or waits, for this session. */
  has(sessionId: string): boolean {
    return this.#last.has(sessionId);
  }
}
