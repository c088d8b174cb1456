import { setTimeout as sleep } from 'node:timers/promises';
import { seenByPeople } from '../e2e/fleet.ts';
import { patient } from '../patience.ts';
import type { SwarmFleet } from './fleet.ts';

const EVERY_MS = 250;
const AT_ONCE = 2;
const SETTLED_WITHIN_MS = 90_000;

/** Messages to ever new people, without a pause, while something happens to the fleet. */
export class MessageFlow {
  readonly #fleet: SwarmFleet;
  readonly #expected = new Map<string, string>();
  readonly #jobs: string[] = [];
  #flowing: Promise<void> | undefined;
  #stopped = false;
  /** In all flows, so that nobody is written to twice. */
  static people = 0;

  constructor(fleet: SwarmFleet) {
    this.#fleet = fleet;
  }

  start(): this {
    this.#flowing ??= this.#flow();
    // What went wrong shows when it is settled.
    this.#flowing.catch(() => undefined);
    return this;
  }

  /**
   * Ends it, and waits until each message has an end.
   * @returns how many there were, and those that were not seen exactly once, or not as they were written
   */
  async settle(): Promise<{ sent: number; wrong: string[] }> {
    this.#stopped = true;
    await this.#flowing;
    const deadline = performance.now() + patient(SETTLED_WITHIN_MS);
    for (const id of this.#jobs) {
      while ((await this.#fleet.api.job(id)).totals.queued > 0) {
        if (performance.now() > deadline) throw new Error(`job ${id} did not end in time`);
        await sleep(100);
      }
    }
    const seen = seenByPeople(this.#fleet.simulator);
    const wrong = [...this.#expected]
      .filter(([phone, text]) => JSON.stringify(seen.get(phone)) !== JSON.stringify([text]))
      .map(([phone, text]) => `${phone} "${text}": ${JSON.stringify(seen.get(phone) ?? null)}`);
    return { sent: this.#expected.size, wrong };
  }

  async #flow(): Promise<void> {
    while (!this.#stopped) {
      const contacts = Array.from({ length: AT_ONCE }, () => {
        MessageFlow.people += 1;
        return {
          name: `Guest ${MessageFlow.people}`,
          phone: `97254${String(MessageFlow.people).padStart(7, '0')}`,
        };
      });
      for (const { name, phone } of contacts) this.#expected.set(phone, `Hello ${name}.`);
      this.#jobs.push(await this.#fleet.api.postTexts(contacts, 'Hello {{name}}.'));
      await sleep(EVERY_MS);
    }
  }
}
