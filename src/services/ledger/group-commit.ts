/**
 * Gathers what comes while a commit is under way, and commits it together: many callers share one transaction, and
 * each returns only after its own part is durable. If a commit fails, all who shared it get the error.
 */
export class GroupCommit<Item, Result> {
  readonly #commit: (items: readonly Item[]) => Promise<readonly Result[]>;
  readonly #maxItems: number;
  #waiting: {
    items: readonly Item[];
    resolve(results: Result[]): void;
    reject(error: unknown): void;
  }[] = [];
  #running = false;

  /** @param commit gives one result per item, in order */
  constructor(commit: (items: readonly Item[]) => Promise<readonly Result[]>, maxItems = 2000) {
    this.#commit = commit;
    this.#maxItems = maxItems;
  }

  /** All or none of these. */
  add(items: readonly Item[]): Promise<Result[]> {
    if (items.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ items, resolve, reject });
      if (this.#running) return;
      this.#running = true;
      // After the requests that have been read already: they share this commit.
      setImmediate(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#take();
      try {
        const results = await this.#commit(group.flatMap(({ items }) => items));
        let at = 0;
        for (const { items, resolve } of group) {
          resolve(results.slice(at, at + items.length));
          at += items.length;
        }
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
      // Lets the event loop read the requests that belong into the next commit.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#running = false;
  }

  #take() {
    let count = 0;
    let items = 0;
    while (count < this.#waiting.length) {
      items += this.#waiting[count]?.items.length ?? 0;
      if (count > 0 && items > this.#maxItems) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }
}
