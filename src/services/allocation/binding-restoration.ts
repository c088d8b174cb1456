import { proxyAddress } from '../../domain/proxy.ts';
import type { RestorablePart } from '../restoration/ports.ts';
import type { Binding } from './ports.ts';

export interface RestorableBindings {
  all(): Promise<Binding[]>;
  /** In the place of whatever is there. */
  put(binding: Binding, runId: string): Promise<void>;
  remove(sessionId: string, runId: string): Promise<void>;
  /** Counts sessions per proxy and phone from the bindings. @returns how many counters were wrong */
  recount(): Promise<number>;
}

export interface BindingRestorationDeps {
  bindings: RestorableBindings;
  /** Bindings as SQL keeps them, with the lines that they hold. */
  kept(): Promise<Binding[]>;
  /** Per session the address of the proxy that it was told of last, null if it has none. */
  sessions(): Promise<{ id: string; proxy: string | null; direct: boolean }[]>;
}

/**
 * Bindings after a loss: their workers still run, each on the proxy that it had. What SQL and Redis both say stays.
 * Where they differ, what the session was last told decides, because that is where its worker is.
 */
export class BindingRestoration implements RestorablePart {
  readonly #deps: BindingRestorationDeps;

  constructor(deps: BindingRestorationDeps) {
    this.#deps = deps;
  }

  async restore(runId: string): Promise<number> {
    const { bindings, kept, sessions } = this.#deps;
    const present = new Map((await bindings.all()).map((binding) => [binding.sessionId, binding]));
    const known = new Map((await kept()).map((binding) => [binding.sessionId, binding]));
    const told = new Map((await sessions()).map((session) => [session.id, session]));
    const wrong: string[] = [];
    const missing: Binding[] = [];
    for (const [sessionId, binding] of present) {
      const session = told.get(sessionId);
      if (!session || (session.proxy === null && !session.direct)) wrong.push(sessionId);
      else if (!fits(binding, session.proxy)) wrong.push(sessionId);
    }
    for (const [sessionId, binding] of known) {
      const session = told.get(sessionId);
      if (!session || !fits(binding, session.proxy) || (session.proxy === null && !session.direct)) continue;
      if (!present.has(sessionId) || wrong.includes(sessionId)) missing.push(binding);
    }
    // All that is wrong goes first: what comes back may need its place.
    for (const sessionId of wrong) await bindings.remove(sessionId, runId);
    for (const binding of missing) await bindings.put(binding, runId);
    // The server may have come back with counters that never fitted its bindings: nobody allocates on those.
    return wrong.length + missing.length + (await bindings.recount());
  }
}

const fits = ({ proxy }: Binding, address: string | null): boolean =>
  (proxy === null ? null : proxyAddress(proxy)) === address;
