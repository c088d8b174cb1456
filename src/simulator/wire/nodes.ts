import { type BinaryNode, getBinaryNodeChild, getBinaryNodeChildren } from '@whiskeysockets/baileys';

export const SERVER_JID = 's.whatsapp.net';

export const childOf = (node: BinaryNode | undefined, tag: string): BinaryNode | undefined =>
  getBinaryNodeChild(node, tag);

export const childrenOf = (node: BinaryNode | undefined, tag: string): BinaryNode[] =>
  getBinaryNodeChildren(node, tag);

/** All element children, whatever their tag. */
export const elementsOf = (node: BinaryNode | undefined): BinaryNode[] =>
  Array.isArray(node?.content) ? node.content : [];

/** A node's bytes, copied: the original is a view of the whole received frame and would keep it alive. */
export function bytesOf(node: BinaryNode | undefined): Buffer | undefined {
  const content = node?.content;
  if (typeof content === 'string') return Buffer.from(content);
  return content instanceof Uint8Array ? Buffer.from(content) : undefined;
}

/** @throws Error when the child is missing or carries no bytes */
export function requiredBytes(node: BinaryNode | undefined, tag: string): Buffer {
  const bytes = bytesOf(childOf(node, tag));
  if (!bytes) throw new Error(`<${node?.tag ?? '?'}> lacks <${tag}>`);
  return bytes;
}

export function element(
  tag: string,
  attrs: Record<string, string | undefined> = {},
  content?: BinaryNode[] | Uint8Array | string,
): BinaryNode {
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(attrs)) if (value !== undefined) given[name] = value;
  return content === undefined ? { tag, attrs: given } : { tag, attrs: given, content };
}

/** The answer to a query. */
export const resultOf = (query: BinaryNode, content?: BinaryNode[]): BinaryNode =>
  element('iq', { from: SERVER_JID, type: 'result', id: query.attrs.id }, content);

/** A big-endian integer of `size` bytes, as key ids and registration ids travel. */
export function bigEndian(value: number, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  bytes.writeUIntBE(value, 0, size);
  return bytes;
}
