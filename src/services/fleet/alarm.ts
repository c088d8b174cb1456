import type { Clock } from '../../kernel/clock.ts';

/** Rings once at a time, by the wall clock, which may be set anew until then. */
export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #set: AbortController | undefined;
  #atMs: number | null = null;

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** @param atMs null: not at all */
  setFor(atMs: number | null): void {
    if (atMs === this.#atMs) return;
    this.#set?.abort();
    this.#atMs = atMs;
    if (atMs === null) return;
    const set = new AbortController();
    this.#set = set;
    this.#clock.sleep(Math.max(0, atMs - this.#clock.nowMs()), set.signal).then(
      () => {
        if (this.#set !== set) return;
        this.#atMs = null;
        this.#ring();
      },
      () => undefined,
    );
  }
}
