import type { NodeAttributes } from '../../../domain/node-attributes.ts';
import type { NodeWish, RuntimeNode } from '../../../services/fleet/ports.ts';
import { RESERVED_MEMORY } from './service-spec.ts';
import type { NodeFacts } from './swarm-facts.ts';

/** The nodes of a swarm by id, each with the name that it has for us. */
export type SwarmNodes = ReadonlyMap<string, NodeFacts & { name: string }>;

/** What `docker node update --availability` says. */
const AVAILABILITY: Record<string, NodeWish> = { pause: 'cordoned', drain: 'draining' };
const MARK = 8;

/** By host name. A swarm may have several of one name: each of these has a piece of its id with it. */
export function namedNodes(found: readonly NodeFacts[]): SwarmNodes {
  const hostOf = ({ ID: id, Description: description }: NodeFacts): string => description?.Hostname ?? id;
  const times = new Map<string, number>();
  for (const node of found) times.set(hostOf(node), (times.get(hostOf(node)) ?? 0) + 1);
  return new Map(
    found.map((node) => {
      const host = hostOf(node);
      const name = times.get(host) === 1 ? host : `${host}-${node.ID.slice(0, MARK)}`;
      return [node.ID, { ...node, name }];
    }),
  );
}

/**
 * Those that workers may run on. The capacity is what the memory carries if nothing else runs there; what does is
 * known to Swarm alone, which refuses what does not fit.
 */
export function runtimeNodes(nodes: SwarmNodes): RuntimeNode[] {
  return [...nodes.values()]
    .filter(({ Spec: spec }) => spec?.Labels?.flotilla !== 'no')
    .map((node) => {
      const { name, Spec: spec, Description: description, Status: status } = node;
      const memory = description?.Resources?.MemoryBytes;
      const closed = AVAILABILITY[spec?.Availability ?? ''];
      return {
        name,
        capacity: memory === undefined ? null : Math.floor(memory / RESERVED_MEMORY),
        reachable: status.State === 'ready',
        attributes: attributesOf(node),
        ...(closed === undefined ? {} : { closed }),
      };
    })
    .sort((a, b) => a.name.localeCompare(b.name));
}

/** By the names that constraints use. */
function attributesOf({ ID: id, Spec: spec, Description: description }: NodeFacts): NodeAttributes {
  const labels = (prefix: string, of: Record<string, string> = {}): [string, string][] =>
    Object.entries(of).map(([label, value]) => [`${prefix}.labels.${label}`, value]);
  return new Map([
    ['node.id', id],
    ['node.hostname', description?.Hostname ?? ''],
    ['node.role', spec?.Role ?? ''],
    ['node.platform.os', description?.Platform?.OS ?? ''],
    ['node.platform.arch', description?.Platform?.Architecture ?? ''],
    ...labels('node', spec?.Labels),
    ...labels('engine', description?.Engine?.Labels),
  ]);
}

/** `node.id==…` or `node.id!=…` for those of these names that there are. */
export function nodeConstraints(
  nodes: SwarmNodes,
  names: readonly string[],
  operator: '==' | '!=',
): string[] {
  return [...nodes.values()]
    .filter(({ name }) => names.includes(name))
    .map(({ ID: id }) => `node.id${operator}${id}`);
}
