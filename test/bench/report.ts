/** One measured figure. `ratio` is the figure divided by the baseline that is named, both taken in the same run. */
export interface BenchRow {
  figure: string;
  value: number;
  unit: string;
  baseline?: string;
  ratio?: number;
}

export type Report = (row: BenchRow) => void;
