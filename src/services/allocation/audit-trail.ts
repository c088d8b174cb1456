import type { Clock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { BindingChange, BindingStore } from './ports.ts';

/** Beyond this many unwritten changes the oldest are let go: the reconcile pass writes what they would have. */
const MAX_WAITING = 10_000;

export interface AuditTrailDeps {
  store: BindingStore;
  clock: Clock;
  log: Logger;
}

/**
 * Writes bindings to SQL behind the caller's back, in order and in batches. Redis has decided already: a change
 * that cannot be written is logged and left to the reconcile pass.
 */
export class AuditTrail {
  readonly #deps: AuditTrailDeps;
  #waiting: BindingChange[] = [];
  #writing: Promise<void> | undefined;

  constructor(deps: AuditTrailDeps) {
    this.#deps = deps;
  }

  add(change: BindingChange): void {
    this.#waiting.push(change);
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift();
    this.#writing ??= this.#write();
  }

  /** Resolves when everything added so far is written, or has failed. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    // One turn of the loop later: what comes in the same turn shares a transaction.
    await this.#deps.clock.sleep(0);
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#deps.store.apply(batch);
      } catch (error) {
        const fields = { changes: batch.length, error: messageOf(error) };
        this.#deps.log.warn(fields, 'bindings could not be written to the audit trail; reconcile will');
      }
    }
    this.#writing = undefined;
  }
}
