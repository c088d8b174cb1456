/** A condition that is waited for. */
export class Gate {
  #open: boolean;
  #waiting: (() => void)[] = [];

  constructor(open: boolean) {
    this.#open = open;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  open(): void {
    this.#open = true;
    for (const resume of this.#waiting.splice(0)) resume();
  }

  close(): void {
    this.#open = false;
  }

  /** Rejects with the signal's reason. */
  async whenOpen(signal: AbortSignal): Promise<void> {
    while (!this.#open) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        const done = () => {
          signal.removeEventListener('abort', done);
          resolve();
        };
        signal.addEventListener('abort', done, { once: true });
        this.#waiting.push(done);
      });
    }
    signal.throwIfAborted();
  }
}
