import type { RestorablePart } from '../restoration/ports.ts';
import type { ProxyMark, ProxyMarks } from './ports.ts';

export interface MarkRestorationDeps {
  marks: ProxyMarks;
  /** On a server that nobody else may change now. @returns what it changed; `gone` if there is no such proxy */
  apply(mark: ProxyMark, runId: string): Promise<'changed' | 'same' | 'gone'>;
}

/** Proxies that people took out of service, after a loss. To be done after the bindings, which name the others. */
export class MarkRestoration implements RestorablePart {
  readonly #deps: MarkRestorationDeps;

  constructor(deps: MarkRestorationDeps) {
    this.#deps = deps;
  }

  async restore(runId: string): Promise<number> {
    const { marks, apply } = this.#deps;
    let changed = 0;
    for (const mark of await marks.all()) {
      const outcome = await apply(mark, runId);
      if (outcome === 'changed') changed += 1;
      // Drained to its end: one that is uploaded again is a new one.
      if (outcome === 'gone') await marks.drop(mark.line);
    }
    return changed;
  }
}
