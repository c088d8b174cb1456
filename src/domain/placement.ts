import type {
  PlacementFacts,
  PlacementNode,
  PlannedMove,
  PlannedSession,
  PlannedWorker,
} from './fleet-model.ts';
import { fulfils } from './node-attributes.ts';
import { SpreadCount } from './spread.ts';

/** Where a session may start: `wait` for its turn, `full` if no node takes another worker. */
export type Place = { node: string | null } | 'wait' | 'full';

export interface Places {
  /** Gives a place out; it is taken from then on. */
  take(session: PlannedSession): Place;
}

/** Whether a move waits for a successor to be prepared; from the next generation on it is under way. */
export const isComing = (move: PlannedMove | undefined, { generation }: PlannedSession): boolean =>
  move?.generation === generation + 1;

/** Whether a move decides where a session starts next. */
export const holdsFor = (move: PlannedMove | undefined, session: PlannedSession): boolean =>
  move?.generation === session.generation || isComing(move, session);

/** One place without limits of its own: only the starts at the same time are counted. */
export function onePlace(slots: number): Places {
  let free = slots;
  return {
    take() {
      if (free <= 0) return 'wait';
      free -= 1;
      return { node: null };
    },
  };
}

interface Load {
  node: PlacementNode;
  workers: number;
  starting: number;
  proxies: Map<string, number>;
}

/** How full each node is, and who may go where. */
export class NodeBook implements Places {
  readonly #loads: Load[];
  readonly #facts: PlacementFacts;
  readonly #startsAtOnce: number;
  readonly #spread: SpreadCount;

  /** @param starting sessions whose worker counts as starting */
  constructor(
    facts: PlacementFacts,
    workers: readonly PlannedWorker[],
    starting: ReadonlySet<string>,
    startsAtOnce: number,
  ) {
    this.#facts = facts;
    this.#startsAtOnce = startsAtOnce;
    this.#spread = new SpreadCount(facts);
    this.#loads = facts.nodes.map((node) => ({ node, workers: 0, starting: 0, proxies: new Map() }));
    for (const [sessionId, node] of facts.startsUnderWay) this.#add(sessionId, node, true);
    for (const { sessionId, state, node } of workers) {
      // One that is being started may be in the list already.
      if (state !== 'running' || facts.startsUnderWay.get(sessionId) === (node ?? null)) continue;
      this.#add(sessionId, node ?? null, starting.has(sessionId));
    }
  }

  /**
   * The node that was asked for if it can be had, else one that the session's wish fits best: with the fewest sessions
   * of its spread group, then of the same proxy, then with the most room.
   */
  take(session: PlannedSession): Place {
    const roomy = this.#loads.filter(hasRoom);
    if (roomy.length === 0) return 'full';
    const move = this.#facts.moves.get(session.id);
    const asked = holdsFor(move, session) ? roomy.find(({ node }) => node.name === move?.node) : undefined;
    const ready = (asked ? [asked] : this.#wished(session, roomy)).filter(
      ({ starting }) => starting < this.#startsAtOnce,
    );
    const proxy = this.#facts.proxies.get(session.id) ?? '';
    const same = (load: Load): number => load.proxies.get(proxy) ?? 0;
    const [best] = ready.sort((a, b) => same(a) - same(b) || free(b) - free(a));
    if (!best) return 'wait';
    this.#add(session.id, best.node.name, true);
    return { node: best.node.name };
  }

  /**
   * Those that fulfil the session's constraints, and of them those with the fewest of its group: it waits for its turn
   * there rather than go where it is not wanted. If none fulfils them all are left, and the runtime has the last word.
   */
  #wished({ id }: PlannedSession, loads: Load[]): Load[] {
    const constraints = this.#facts.wishes.get(id)?.constraints ?? [];
    const fitting = loads.filter(({ node }) => !node.attributes || fulfils(node.attributes, constraints));
    const ranked = (fitting.length > 0 ? fitting : loads).map((load) => {
      const [alike, here] = this.#spread.others(id, load.node) ?? [0, 0];
      return { load, alike, here };
    });
    const [first] = ranked.toSorted((a, b) => a.alike - b.alike || a.here - b.here);
    return ranked
      .filter(({ alike, here }) => alike === first?.alike && here === first.here)
      .map(({ load }) => load);
  }

  /** How many more workers the open nodes take. */
  get room(): number {
    return this.#loads.filter(hasRoom).reduce((sum, load) => sum + free(load), 0);
  }

  #add(sessionId: string, node: string | null, starting: boolean): void {
    const load = this.#loads.find((each) => each.node.name === node);
    if (!load) return;
    load.workers += 1;
    this.#spread.add(sessionId, load.node.name);
    if (starting) load.starting += 1;
    const proxy = this.#facts.proxies.get(sessionId);
    if (proxy !== undefined) load.proxies.set(proxy, (load.proxies.get(proxy) ?? 0) + 1);
  }
}

const free = ({ node, workers }: Load): number => node.capacity - workers;
const hasRoom = (load: Load): boolean => load.node.open && free(load) > 0;
