import type { Clock } from '../kernel/clock.ts';
import { toIso } from '../kernel/clock.ts';
import type { EventReporter } from './event-reporter.ts';
import type { Receipt } from './providers/provider.ts';

/** How long receipts gather before they travel together. */
const BATCH_MS = 100;
const REMEMBERED = 5_000;
const RANK = { delivered: 1, read: 2 } as const;

/**
 * Receipts may skip steps, come twice and come out of order: each message's status only ever goes up, and only a
 * step up is reported.
 */
export class Receipts {
  readonly #reporter: EventReporter;
  readonly #clock: Clock;
  readonly #highest = new Map<string, number>();
  #gathered = new Map<string, Receipt>();
  #gathering: Promise<void> | undefined;

  constructor(reporter: EventReporter, clock: Clock) {
    this.#reporter = reporter;
    this.#clock = clock;
  }

  add(receipt: Receipt): void {
    const { whatsappId, status } = receipt;
    if (RANK[status] <= (this.#highest.get(whatsappId) ?? 0)) return;
    this.#highest.delete(whatsappId);
    this.#highest.set(whatsappId, RANK[status]);
    const oldest = this.#highest.keys().next();
    if (this.#highest.size > REMEMBERED && !oldest.done) this.#highest.delete(oldest.value);
    this.#gathered.set(whatsappId, receipt);
    this.#gathering ??= this.#clock.sleep(BATCH_MS).then(() => this.flush());
  }

  /** Hands over what has been gathered. */
  flush(): void {
    this.#gathering = undefined;
    const receipts = [...this.#gathered.values()];
    this.#gathered = new Map();
    for (const { whatsappId, taskId, status, at } of receipts) {
      this.#reporter.report('RECEIPT', { ...(taskId ? { taskId } : {}), whatsappId, status, at: toIso(at) });
    }
  }
}
