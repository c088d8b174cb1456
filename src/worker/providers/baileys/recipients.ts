import type { Clock } from '../../../kernel/clock.ts';

/** Asks WhatsApp which of the numbers it knows; `undefined` if there was no answer. */
type Lookup = (phone: string) => Promise<{ jid: string; exists: boolean }[] | undefined>;

const FOUND_LIVES_MS = 24 * 60 * 60 * 1000;
/** Short: somebody may install WhatsApp at any time, and a wrong answer must not stick. */
const MISSING_LIVES_MS = 10 * 60 * 1000;
const CAPACITY = 2_000;

/**
 * Which address a number has on WhatsApp, remembered per number. WhatsApp's own form of a number may differ from
 * the one that was dialled (Brazil, Mexico and Argentina have two of each), so the address comes from its answer.
 */
export class Recipients {
  readonly #clock: Clock;
  readonly #known = new Map<string, { jid: string | null; until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * @returns the address, `null` for a number that is not on WhatsApp, `undefined` if there was no answer
   * @throws what the look-up throws
   */
  async resolve(phone: string, lookUp: Lookup): Promise<string | null | undefined> {
    const known = this.#known.get(phone);
    if (known && known.until > this.#clock.monotonicMs()) return known.jid;
    const results = await lookUp(phone);
    if (results === undefined) return undefined;
    const found = results.find(({ exists }) => exists);
    const jid = found ? addressOf(found.jid, phone) : null;
    this.#remember(phone, jid);
    return jid;
  }

  #remember(phone: string, jid: string | null): void {
    this.#known.delete(phone);
    const livesMs = jid === null ? MISSING_LIVES_MS : FOUND_LIVES_MS;
    this.#known.set(phone, { jid, until: this.#clock.monotonicMs() + livesMs });
    const oldest = this.#known.keys().next();
    if (this.#known.size > CAPACITY && !oldest.done) this.#known.delete(oldest.value);
  }
}

const addressOf = (jid: string, phone: string): string =>
  /^\d+@s\.whatsapp\.net$/.test(jid) ? jid : `${phone}@s.whatsapp.net`;
