import type { PlacementNode } from '../../domain/fleet-model.ts';
import { conflict, notFound } from '../../kernel/errors.ts';
import type { FleetSignal } from '../sessions/ports.ts';
import type { NodeSource, NodeWish, NodeWishStore, RuntimeNode, WorkerRuntime } from './ports.ts';

export interface FleetNodesDeps {
  runtime: WorkerRuntime & Partial<NodeSource>;
  wishes: NodeWishStore;
  fleet: FleetSignal;
}

export interface NodeView {
  id: string;
  state: 'ready' | 'unreachable' | 'cordoned' | 'draining';
  /** No new workers, whether it answers or not. */
  closed: boolean;
  /** The most workers; null for no limit of its own. */
  capacity: number | null;
  /** Sessions whose worker runs there, or did when the node answered last. */
  sessions: string[];
}

/** The one node of a runtime that knows of none. */
export const ONLY_NODE = 'local';

/** The places that workers run on, and what a person wants of them. */
export class FleetNodes {
  readonly #deps: FleetNodesDeps;

  constructor(deps: FleetNodesDeps) {
    this.#deps = deps;
  }

  async list(): Promise<NodeView[]> {
    const { runtime, wishes } = this.#deps;
    const seen = await runtime.list().catch(() => null);
    const only: RuntimeNode = { name: ONLY_NODE, capacity: null, reachable: seen !== null };
    const nodes = runtime.nodes?.() ?? [only];
    const running = (seen ?? []).filter(({ state }) => state === 'running');
    const wished = await wishes.all();
    return nodes.map(({ name, capacity, reachable, closed }) => {
      const there = runtime.nodes ? running.filter(({ node }) => node === name) : running;
      const wish =
        [wished.get(name), closed].find((each) => each === 'draining') ?? wished.get(name) ?? closed;
      return {
        id: name,
        state: reachable ? (wish ?? 'ready') : 'unreachable',
        closed: wish !== undefined,
        capacity,
        sessions: there.map(({ sessionId }) => sessionId),
      };
    });
  }

  /** @throws FlotillaError 404 `unknown_node` */
  async get(name: string): Promise<NodeView> {
    return nodeIn(await this.list(), name);
  }

  /**
   * Null opens it again. A drain closes it, and the runner moves its sessions elsewhere.
   * @throws FlotillaError 404 `unknown_node`, 409 `only_node` where there is nowhere else to go, `closed_elsewhere`
   *   where the runtime's own operators keep it closed
   */
  async wish(name: string, wish: NodeWish | null): Promise<NodeView> {
    const nodes = await this.list();
    nodeIn(nodes, name);
    if (wish !== null && nodes.length < 2) {
      throw conflict('only_node', 'There is no other node; stop the sessions instead.');
    }
    await this.#deps.wishes.set(name, wish);
    this.#deps.fleet.wake();
    const node = await this.get(name);
    if (wish === null && node.closed) {
      throw conflict('closed_elsewhere', `The node ${name} is ${node.state} by its engine: open it there.`);
    }
    return node;
  }

  /** Those that a person has closed by us. */
  async closed(): Promise<string[]> {
    const { runtime, wishes } = this.#deps;
    return runtime.nodes ? [...(await wishes.all()).keys()] : [];
  }

  /** For the plan, as of the runtime's last list; null where there is one place only. */
  async forPlan(): Promise<PlacementNode[] | null> {
    const { runtime, wishes } = this.#deps;
    if (!runtime.nodes) return null;
    const nodes = runtime.nodes();
    const wished = await wishes.all();
    return nodes.map(({ name, capacity, reachable, closed, attributes }) => ({
      name,
      capacity: capacity ?? Number.MAX_SAFE_INTEGER,
      open: reachable && closed === undefined && !wished.has(name),
      draining: reachable && wished.get(name) === 'draining',
      attributes,
    }));
  }
}

/** @throws FlotillaError 404 `unknown_node` */
export function nodeIn(nodes: readonly NodeView[], name: string): NodeView {
  const node = nodes.find(({ id }) => id === name);
  if (node) return node;
  const known = nodes.map(({ id }) => id).join(', ');
  throw notFound('unknown_node', `There is no node ${name}; known: ${known}.`);
}
