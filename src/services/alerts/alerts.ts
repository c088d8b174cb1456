import { type Clock, toIso } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';
import type { AlertChannel, AlertNotice, AlertStore, EventSink, RaisedAlert } from './ports.ts';

export interface AlertsDeps {
  store: AlertStore;
  events: EventSink;
  clock: Clock;
  log: Logger;
  channels: AlertChannel[];
  /** For the metrics. */
  onChange?: (condition: string, raised: boolean) => void;
}

/** Says once that something is wrong, and once that it is over, however often it is noticed. */
export class Alerts {
  readonly #deps: AlertsDeps;

  constructor(deps: AlertsDeps) {
    this.#deps = deps;
  }

  /** @param condition in snake_case; the message is for a person and names nothing secret */
  async raise(condition: string, message: string): Promise<void> {
    const at = toIso(this.#deps.clock.nowMs());
    if (!(await this.#deps.store.raise(condition, { message, at }))) return;
    this.#deps.log.error({ alert: condition }, message);
    await this.#tell({ status: 'raised', condition, message, at });
  }

  async clear(condition: string): Promise<void> {
    const alert = await this.#deps.store.clear(condition);
    if (!alert) return;
    this.#deps.log.info({ alert: condition, since: alert.at }, `over: ${alert.message}`);
    const at = toIso(this.#deps.clock.nowMs());
    await this.#tell({ status: 'cleared', condition, message: alert.message, at });
  }

  /** What is raised now, oldest first. */
  raised(): Promise<RaisedAlert[]> {
    return this.#deps.store.raised();
  }

  async #tell(notice: AlertNotice): Promise<void> {
    this.#deps.onChange?.(notice.condition, notice.status === 'raised');
    for (const channel of this.#deps.channels) channel.send(notice);
    const { status, condition, message } = notice;
    await this.#deps.events.record({ type: `alert.${status}`, data: { condition, message } });
  }
}
