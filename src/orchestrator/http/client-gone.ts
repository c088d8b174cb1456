import type { Response } from 'express';

/**
 * Whether the client has gone, with as much of an `AbortSignal` as those who wait for it need: every poll has one, and
 * a real one costs several times as much.
 */
export class Departure {
  #aborted = false;
  #listeners: (() => void)[] = [];

  get aborted(): boolean {
    return this.#aborted;
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners.push(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const at = this.#listeners.indexOf(listener);
    if (at !== -1) this.#listeners.splice(at, 1);
  }

  /** As if the client had gone. */
  abort(): void {
    if (this.#aborted) return;
    this.#aborted = true;
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener();
  }
}

/** Aborted when the client goes away before it has its answer. */
export function whenGone(res: Response): AbortController {
  return watch(res, new AbortController());
}

/** The same for those who are many and ask little of it. */
export function departureOf(res: Response): Departure {
  return watch(res, new Departure());
}

function watch<Gone extends { abort(): void }>(res: Response, gone: Gone): Gone {
  // A body that nobody reads would hide the end of the connection.
  res.req.resume();
  if (res.destroyed || res.req.socket.destroyed) gone.abort();
  res.on('close', () => {
    if (!res.writableFinished) gone.abort();
  });
  return gone;
}
