import type { PlacementFacts, PlacementNode } from './fleet-model.ts';
import { attributeOf } from './node-attributes.ts';

/** Where the sessions are that ask to be spread, by their groups. */
export class SpreadCount {
  readonly #facts: Pick<PlacementFacts, 'nodes' | 'wishes'>;
  /** Group → session → node. */
  readonly #groups = new Map<string, Map<string, string>>();

  constructor(facts: Pick<PlacementFacts, 'nodes' | 'wishes'>) {
    this.#facts = facts;
  }

  add(sessionId: string, node: string): void {
    const group = this.#facts.wishes.get(sessionId)?.spread?.group;
    if (group === undefined) return;
    const members = this.#groups.get(group) ?? new Map<string, string>();
    this.#groups.set(group, members.set(sessionId, node));
  }

  /**
   * How many others of the session's group are on nodes that have the same value of its attribute, and how many on
   * this very node; null for a session that does not ask to be spread. Nodes without the attribute are of one value.
   */
  others(sessionId: string, node: PlacementNode): [alike: number, here: number] | null {
    const spread = this.#facts.wishes.get(sessionId)?.spread;
    if (!spread) return null;
    const members = [...(this.#groups.get(spread.group) ?? [])].filter(([id]) => id !== sessionId);
    const { over } = spread;
    const zoneOf = (each: PlacementNode | undefined): string | null =>
      over === undefined || !each?.attributes ? null : attributeOf(each.attributes, over);
    const nodeOf = new Map(this.#facts.nodes.map((each) => [each.name, each]));
    const alike =
      over === undefined ? [] : members.filter(([, at]) => zoneOf(nodeOf.get(at)) === zoneOf(node));
    return [alike.length, members.filter(([, at]) => at === node.name).length];
  }
}
