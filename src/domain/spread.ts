import type { PlacementFacts, PlacementNode } from './fleet-model.ts';
import { attributeOf } from './node-attributes.ts';

interface Group {
  /** Node → how many of the group's sessions are there. */
  counts: Map<string, number>;
  nodeOf: Map<string, string>;
}

/** Where the sessions are that ask to be spread, by their groups. */
export class SpreadCount {
  readonly #facts: Pick<PlacementFacts, 'nodes' | 'wishes'>;
  readonly #groups = new Map<string, Group>();

  constructor(facts: Pick<PlacementFacts, 'nodes' | 'wishes'>) {
    this.#facts = facts;
  }

  add(sessionId: string, node: string): void {
    const name = this.#facts.wishes.get(sessionId)?.spread?.group;
    if (name === undefined) return;
    const group = this.#groups.get(name) ?? { counts: new Map(), nodeOf: new Map() };
    this.#groups.set(name, group);
    group.nodeOf.set(sessionId, node);
    group.counts.set(node, (group.counts.get(node) ?? 0) + 1);
  }

  /**
   * How many others of the session's group are on nodes that have the same value of its attribute, and how many on
   * this very node; null for a session that does not ask to be spread. Nodes without the attribute are of one value.
   */
  others(sessionId: string, node: PlacementNode): [alike: number, here: number] | null {
    const spread = this.#facts.wishes.get(sessionId)?.spread;
    if (!spread) return null;
    const group = this.#groups.get(spread.group);
    const own = group?.nodeOf.get(sessionId);
    const on = ({ name }: PlacementNode): number => (group?.counts.get(name) ?? 0) - (name === own ? 1 : 0);
    const { over } = spread;
    if (over === undefined) return [0, on(node)];
    const zoneOf = ({ attributes }: PlacementNode): string =>
      attributes === undefined ? '' : attributeOf(attributes, over);
    const alike = this.#facts.nodes.filter((each) => zoneOf(each) === zoneOf(node));
    return [alike.reduce((sum, each) => sum + on(each), 0), on(node)];
  }
}
