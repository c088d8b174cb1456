import { quantile } from './cycles.ts';

/** Other guests of the host come and go: what is set side by side is measured in turns, and the median counts. */
export const ROUNDS = 3;

/** How long a server is warm before the measured part of a round: V8 goes on compiling for the better part of a minute. */
export const warmSecondsOf = (round: number): number => (round === 0 ? 15 : 1.5);

/** One value per round. */
export class Rounds {
  readonly #values = new Map<string, number[]>();

  note(figure: string, value: number): void {
    const values = this.#values.get(figure) ?? [];
    this.#values.set(figure, [...values, value]);
  }

  median(figure: string): number {
    return quantile(
      [...(this.#values.get(figure) ?? [])].sort((a, b) => a - b),
      0.5,
    );
  }

  /** Of the two figures of each round. */
  ratio(figure: string, baseline: string, factor = 1): number {
    const below = this.#values.get(baseline) ?? [];
    const ratios = (this.#values.get(figure) ?? []).map(
      (value, n) => value / ((below[n] ?? Number.NaN) * factor),
    );
    return quantile(
      ratios.sort((a, b) => a - b),
      0.5,
    );
  }
}
