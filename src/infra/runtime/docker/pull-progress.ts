/** A line of what an engine reports while it pulls an image. */
export interface PullStep {
  /** Of a layer; absent for what is said about the whole. */
  id?: string;
  status?: string;
  progressDetail?: { current?: number; total?: number };
  error?: string;
}

interface Layer {
  done: boolean;
  loaded: number;
  /** 0 while it is not known. */
  total: number;
}

const MEGABYTE = 1_000_000;
const DONE = new Set(['Pull complete', 'Already exists']);

/** How far a pull has come, from the steps that the engine reports. */
export class PullProgress {
  readonly #layers = new Map<string, Layer>();

  take({ id, status = '', progressDetail }: PullStep): void {
    // The first line carries the tag where others carry a layer.
    if (id === undefined || status.startsWith('Pulling from')) return;
    const layer = this.#layers.get(id) ?? { done: false, loaded: 0, total: 0 };
    if (DONE.has(status)) Object.assign(layer, { done: true, loaded: layer.total });
    else if (status === 'Downloading') {
      Object.assign(layer, { loaded: progressDetail?.current ?? 0, total: progressDetail?.total ?? 0 });
    } else if (status === 'Download complete') layer.loaded = layer.total;
    this.#layers.set(id, layer);
  }

  /** Such as `2 of 7 layers, 31 of 80 MB`. */
  get text(): string {
    const layers = [...this.#layers.values()];
    const sum = (key: 'loaded' | 'total') => layers.reduce((n, layer) => n + layer[key], 0);
    const done = layers.filter((layer) => layer.done).length;
    const megabytes = (bytes: number): string => (bytes / MEGABYTE).toFixed(0);
    const loaded = sum('total') > 0 ? `, ${megabytes(sum('loaded'))} of ${megabytes(sum('total'))} MB` : '';
    return `${done} of ${layers.length} layers${loaded}`;
  }
}
