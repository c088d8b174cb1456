/** Actions that wait for their time. Stopping forgets them all, so that nothing outlives the simulator. */
export class Schedule {
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopped = false;

  /** Runs `action` after `delayMs` (at once in a later turn for 0), unless stopped before. */
  after(delayMs: number, action: () => void): void {
    if (this.#stopped) return;
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        action();
      },
      Math.max(0, delayMs),
    );
    this.#timers.add(timer);
  }

  /** How many actions wait. */
  get size(): number {
    return this.#timers.size;
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
