import type { Clock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';

/** Where WhatsApp says which version its web client has. Rejects when it cannot be read. */
export interface VersionSource {
  latest(signal: AbortSignal): Promise<string>;
}

/** Survives restarts, shared by all orchestrators. */
export interface VersionStore {
  load(): Promise<string | null>;
  save(version: string): Promise<void>;
}

export interface WebVersionDeps {
  /** What an operator pinned; then nothing is fetched. */
  pinned: string | null;
  /** Null where there is nothing to ask: a server that is not WhatsApp's. */
  source: VersionSource | null;
  store: VersionStore;
  clock: Clock;
  log: Logger;
}

const REFRESH_MS = 6 * 3_600_000;
const RETRY_MS = 10 * 60_000;
const FETCH_TIMEOUT_MS = 10_000;

/**
 * The WhatsApp web version that workers connect with (a stale one is refused with 405): fetched once for all
 * of them, kept for six hours, the last good one when WhatsApp cannot be asked.
 */
export class WebVersion {
  readonly #deps: WebVersionDeps;
  #current: string | null = null;
  #validUntil = 0;
  #refreshing: Promise<void> | undefined;

  constructor(deps: WebVersionDeps) {
    this.#deps = deps;
  }

  /** @returns `2.3000.1023456789`, or null when none was ever seen: the worker then uses its library's own. */
  async current(): Promise<string | null> {
    const { pinned, source, clock } = this.#deps;
    if (pinned) return pinned;
    if (!source) return null;
    if (clock.monotonicMs() >= this.#validUntil) {
      this.#refreshing ??= this.#refresh(source).finally(() => {
        this.#refreshing = undefined;
      });
      await this.#refreshing;
    }
    return this.#current;
  }

  async #refresh(source: VersionSource): Promise<void> {
    const { store, clock, log } = this.#deps;
    try {
      this.#current = await source.latest(AbortSignal.timeout(FETCH_TIMEOUT_MS));
      this.#validUntil = clock.monotonicMs() + REFRESH_MS;
      await store.save(this.#current);
    } catch (error) {
      this.#current ??= await store.load();
      this.#validUntil = clock.monotonicMs() + RETRY_MS;
      log.warn(
        { error: messageOf(error), lastGood: this.#current },
        'the current WhatsApp web version could not be read',
      );
    }
  }
}
