import type { Clock } from '../../kernel/clock.ts';

/**
 * Many coarse timers behind one: deadlines are rounded up to slots, and a single timer ticks while any are set.
 * Ten thousand waiting polls cost one timer, and those that end together end in one slot after the other.
 */
export class TimerWheel {
  readonly #clock: Clock;
  readonly #slotMs: number;
  readonly #slots = new Map<number, Set<() => void>>();
  #next = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(clock: Clock, slotMs = 20) {
    this.#clock = clock;
    this.#slotMs = slotMs;
  }

  /**
   * Calls back once, `ms` to `ms` + one slot from now.
   * @param slackMs by how much it may be later than that, so that more of them come in one turn of the event loop
   * @returns cancels
   */
  after(ms: number, callback: () => void, slackMs = 0): () => void {
    const soonest = Math.ceil((this.#clock.monotonicMs() + ms) / this.#slotMs);
    const together = Math.max(1, Math.floor(slackMs / this.#slotMs));
    const wanted = Math.ceil(soonest / together) * together;
    // A slot that the ticking has passed already would never come again.
    const slot = this.#timer ? Math.max(wanted, this.#next) : wanted;
    let members = this.#slots.get(slot);
    if (!members) {
      members = new Set();
      this.#slots.set(slot, members);
    }
    // A fresh function per timer, so that the same callback can be set twice.
    const member = () => callback();
    members.add(member);
    if (!this.#timer) {
      this.#next = Math.min(slot, this.#currentSlot());
      this.#arm();
    }
    return () => {
      const current = this.#slots.get(slot);
      if (current?.delete(member) && current.size === 0) this.#slots.delete(slot);
    };
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#slots.clear();
  }

  #currentSlot(): number {
    return Math.floor(this.#clock.monotonicMs() / this.#slotMs);
  }

  #arm(): void {
    this.#timer = setTimeout(() => this.#tick(), this.#slotMs);
    this.#timer.unref();
  }

  #tick(): void {
    const current = this.#currentSlot();
    this.#timer = undefined;
    // After a long stall there may be more slots to pass over than there are slots in use.
    const due =
      current - this.#next > this.#slots.size
        ? [...this.#slots.keys()].filter((slot) => slot <= current).sort((a, b) => a - b)
        : Array.from({ length: current - this.#next + 1 }, (_, index) => this.#next + index);
    this.#next = current + 1;
    if (this.#slots.size > 0) this.#arm();
    for (const slot of due) {
      const members = this.#slots.get(slot);
      this.#slots.delete(slot);
      for (const member of members ?? []) member();
    }
  }
}
