/**
 * What is known of a node, in Docker Swarm's words: `node.hostname`, `node.labels.zone`, `engine.labels.disk`. Names
 * but for those of labels are in lower case. What is absent counts as empty.
 */
export type NodeAttributes = ReadonlyMap<string, string>;

const LABELS = /^(node|engine)\.labels\./i;

/** Of a label, only the prefix may be written in any case. */
const keyOf = (name: string): string => {
  const prefix = LABELS.exec(name)?.[0] ?? name;
  return prefix.toLowerCase() + name.slice(prefix.length);
};

export const attributeOf = (attributes: NodeAttributes, name: string): string =>
  attributes.get(keyOf(name)) ?? '';

/**
 * Whether a node fulfils every constraint, each `name==value` or `name!=value`; values are compared without regard
 * to case, as Swarm does.
 */
export function fulfils(attributes: NodeAttributes, constraints: readonly string[]): boolean {
  return constraints.every((constraint) => {
    const [, name = '', operator, value = ''] = /^(.+?)(==|!=)(.*)$/.exec(constraint) ?? [];
    const isSame = attributeOf(attributes, name).toLowerCase() === value.toLowerCase();
    return isSame === (operator === '==');
  });
}
