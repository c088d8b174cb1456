import type { RestorablePart } from '../restoration/ports.ts';

/** Phone → proxy, on a server that nobody else may change now. @returns how many were changed */
export type StickyApply = (proxies: ReadonlyMap<string, string>, runId: string) => Promise<number>;

export interface StickyRestorationDeps {
  /** Phone → line of the proxy that it had last. */
  kept(): Promise<ReadonlyMap<string, string>>;
  apply: StickyApply;
}

/** Sticky proxies after a loss, also of phones that have no session now. To be done after the pools. */
export class StickyRestoration implements RestorablePart {
  readonly #deps: StickyRestorationDeps;

  constructor(deps: StickyRestorationDeps) {
    this.#deps = deps;
  }

  async restore(runId: string): Promise<number> {
    return await this.#deps.apply(await this.#deps.kept(), runId);
  }
}
