import type { Clock } from '../../kernel/clock.ts';
import { isAbortError, messageOf } from '../../kernel/errors.ts';
import type { Service } from '../../kernel/lifecycle.ts';
import type { Logger } from '../../kernel/log.ts';
import type { AlertChannel, AlertNotice } from './ports.ts';

export interface AlertWebhookOptions {
  url: string;
  clock: Clock;
  log: Logger;
  /** Milliseconds before each further attempt. */
  retryDelaysMs?: readonly number[];
  timeoutMs?: number;
}

const MAX_WAITING = 100;

/**
 * POSTs notices as JSON to one address, in order, with retries; after the last one the notice is let go and a
 * warning logged. A redirect is not followed: the address is what the operator has set.
 */
export class AlertWebhook implements AlertChannel, Service {
  readonly #options: Required<AlertWebhookOptions>;
  readonly #abort = new AbortController();
  readonly #waiting: AlertNotice[] = [];
  #sending: Promise<void> | undefined;

  constructor(options: AlertWebhookOptions) {
    this.#options = { retryDelaysMs: [1000, 5000, 30_000], timeoutMs: 5000, ...options };
  }

  async start(): Promise<void> {}

  /** Gives up what is still waiting. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#waiting.length = 0;
    await this.#sending;
  }

  send(notice: AlertNotice): void {
    if (this.#abort.signal.aborted) return;
    this.#waiting.push(notice);
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift();
    this.#sending ??= this.#drain();
  }

  async #drain(): Promise<void> {
    for (let notice = this.#waiting.shift(); notice; notice = this.#waiting.shift()) {
      await this.#deliver(notice);
    }
    this.#sending = undefined;
  }

  async #deliver(notice: AlertNotice): Promise<void> {
    const { clock, log, retryDelaysMs } = this.#options;
    const { signal } = this.#abort;
    for (const delayMs of [0, ...retryDelaysMs]) {
      try {
        if (delayMs > 0) await clock.sleep(delayMs, signal);
        await this.#post(notice);
        return;
      } catch (error) {
        if (signal.aborted) return;
        const reason = isAbortError(error) ? 'no answer in time' : messageOf(error);
        log.debug({ alert: notice.condition, error: reason }, 'alert webhook failed');
      }
    }
    log.warn({ alert: notice.condition, attempts: retryDelaysMs.length + 1 }, 'alert webhook given up');
  }

  async #post(notice: AlertNotice): Promise<void> {
    const response = await fetch(this.#options.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': 'flotilla' },
      body: JSON.stringify({ type: `alert.${notice.status}`, ...notice }),
      redirect: 'manual',
      signal: AbortSignal.any([this.#abort.signal, AbortSignal.timeout(this.#options.timeoutMs)]),
    });
    await response.body?.cancel();
    if (!response.ok) throw new Error(`answered ${response.status}`);
  }
}
