/**
 * Bounds how much goes on at the same time, in all and for each host. Hosts take turns. One that fails gets one at a
 * time until it answers, so that the dead ones leave room for the others.
 */
export class HostSlots {
  readonly #total: number;
  readonly #perHost: number;
  readonly #busy = new Map<string, number>();
  readonly #failing = new Set<string>();
  /** By host; whoever stands in front comes next. */
  readonly #waiting = new Map<string, (() => void)[]>();
  #running = 0;

  constructor({ total, perHost }: { total: number; perHost: number }) {
    this.#total = total;
    this.#perHost = perHost;
  }

  /** Works when there is room; for one host in the order in which it was asked for. */
  async run<T>(host: string, work: () => Promise<T>): Promise<T> {
    await new Promise<void>((resolve) => {
      const queue = this.#waiting.get(host);
      if (queue) queue.push(resolve);
      else this.#waiting.set(host, [resolve]);
      this.#startSome();
    });
    try {
      return await work();
    } finally {
      this.#running -= 1;
      const left = (this.#busy.get(host) ?? 1) - 1;
      if (left > 0) this.#busy.set(host, left);
      else this.#busy.delete(host);
      this.#startSome();
    }
  }

  answered(host: string): void {
    if (this.#failing.delete(host)) this.#startSome();
  }

  failed(host: string): void {
    this.#failing.add(host);
  }

  #startSome(): void {
    for (const [host, queue] of [...this.#waiting]) {
      if (this.#running >= this.#total) return;
      const busy = this.#busy.get(host) ?? 0;
      if (busy >= (this.#failing.has(host) ? 1 : this.#perHost)) continue;
      const start = queue.shift();
      // Behind all others, for its next turn.
      this.#waiting.delete(host);
      if (queue.length > 0) this.#waiting.set(host, queue);
      if (!start) continue;
      this.#running += 1;
      this.#busy.set(host, busy + 1);
      start();
    }
  }
}
