/** Shows what a start waits for as the reason of its session, and puts back what stood there when it is over. */
export class StartProgress {
  readonly #write: (reason: string | null) => Promise<unknown>;
  readonly #before: string | null;
  #last: Promise<unknown> = Promise.resolve();
  #shown = false;

  /** @param write for this start alone: after it, it must change nothing */
  constructor(write: (reason: string | null) => Promise<unknown>, before: string | null) {
    this.#write = write;
    this.#before = before;
  }

  readonly say = (text: string): void => {
    this.#shown = true;
    this.#next(text);
  };

  /** Resolves when everything is written. */
  async over(): Promise<void> {
    if (this.#shown) this.#next(this.#before);
    await this.#last;
  }

  #next(reason: string | null): void {
    // What could not be shown is shown with the next step, or not at all: the start goes on.
    this.#last = this.#last.then(() => this.#write(reason)).catch(() => undefined);
  }
}
