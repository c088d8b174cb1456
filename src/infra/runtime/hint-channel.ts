/** Many listeners, each with its own queue; a listener that has gone costs nothing. */
export class HintChannel<T> {
  readonly #listeners = new Set<(hint: T) => void>();

  publish(hint: T): void {
    for (const listener of this.#listeners) listener(hint);
  }

  /** Hints from now on, until the signal is aborted. */
  async *listen(signal: AbortSignal): AsyncGenerator<T> {
    const waiting: T[] = [];
    let wake: () => void = () => undefined;
    const listener = (hint: T): void => {
      waiting.push(hint);
      wake();
    };
    const onAbort = (): void => wake();
    this.#listeners.add(listener);
    signal.addEventListener('abort', onAbort);
    try {
      while (!signal.aborted) {
        const hint = waiting.shift();
        if (hint !== undefined) {
          yield hint;
          continue;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#listeners.delete(listener);
    }
  }
}
