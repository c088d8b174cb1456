/** How often those in a hurry may go before somebody who is not, until it is his turn all the same. */
const MOST_PASSED_OVER = 20;

/**
 * Whose turn it is at the one connection. Requests of people and workers are in a hurry; who brings much (a job, what
 * the ledger's stream holds) lets them go first, but is not kept waiting for ever.
 */
export class ConnectionTurns {
  readonly #hurried: (() => void)[] = [];
  readonly #patient: (() => void)[] = [];
  #taken = false;
  #passedOver = 0;

  /** Resolves when it is the caller's turn, which lasts until `end`. */
  take(patient: boolean): Promise<void> {
    if (!this.#taken) {
      this.#taken = true;
      return Promise.resolve();
    }
    return new Promise((resolve) => (patient ? this.#patient : this.#hurried).push(resolve));
  }

  end(): void {
    const next = this.#next();
    if (next) next();
    else this.#taken = false;
  }

  #next(): (() => void) | undefined {
    const patientFirst = this.#hurried.length === 0 || this.#passedOver >= MOST_PASSED_OVER;
    if (this.#patient.length > 0 && patientFirst) {
      this.#passedOver = 0;
      return this.#patient.shift();
    }
    if (this.#patient.length > 0) this.#passedOver += 1;
    return this.#hurried.shift();
  }
}
