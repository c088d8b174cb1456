/** A session that may send, and what it has before it. */
export interface Sender {
  id: string;
  /** Messages queued or in flight. */
  load: number;
}

/**
 * Chooses a session for one recipient after another: the one that wrote to the recipient before, if it may send,
 * otherwise the least loaded. Each choice adds to the load, so that a batch spreads evenly.
 * A choice costs O(log n): a fleet of ten thousand sessions is asked once per contact.
 */
export class SenderChooser {
  readonly #load = new Map<string, number>();
  /** A binary heap over (load when entered, id). Sticky choices make entries stale: they sink when they surface. */
  readonly #heap: Sender[] = [];

  constructor(senders: readonly Sender[]) {
    // Sorted by load and then as given: a valid heap from the start.
    for (const sender of senders.toSorted((a, b) => a.load - b.load)) {
      this.#load.set(sender.id, sender.load);
      this.#heap.push({ ...sender });
    }
  }

  /**
   * @param sticky the session that the recipient knows, if any
   * @returns the chosen session's id, or null when no session may send
   */
  choose(sticky: string | undefined): string | null {
    const known = sticky === undefined ? undefined : this.#load.get(sticky);
    if (sticky !== undefined && known !== undefined) {
      this.#load.set(sticky, known + 1);
      return sticky;
    }
    for (let top = this.#heap[0]; top; top = this.#heap[0]) {
      const load = this.#load.get(top.id) ?? 0;
      const fresh = load === top.load;
      top.load = fresh ? load + 1 : load;
      if (fresh) this.#load.set(top.id, load + 1);
      const id = top.id;
      this.#sink();
      if (fresh) return id;
    }
    return null;
  }

  #sink(): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if ((heap[child]?.load ?? Number.POSITIVE_INFINITY) < (heap[least] as Sender).load) least = child;
      }
      if (least === at) return;
      const moved = heap[at] as Sender;
      heap[at] = heap[least] as Sender;
      heap[least] = moved;
      at = least;
    }
  }
}
