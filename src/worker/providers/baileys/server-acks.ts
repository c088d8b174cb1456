import type { BinaryNode } from '@whiskeysockets/baileys';

/** What the server said of a message. */
export type ServerAck = { accepted: true } | { accepted: false; error: string };

export interface RawReceipt {
  ids: string[];
  status: 'delivered' | 'read';
  /** Seconds since the Unix epoch, or `null` if the receipt does not say. */
  atSeconds: number | null;
}

/** As much of Baileys' socket as is listened to. */
export interface NodeSource {
  on(event: string, listener: (node: BinaryNode) => void): unknown;
}

/**
 * Listens to the server's acks and receipts where they arrive. Baileys' events come later: they are held back for
 * up to 20 s after a first login, and there is none at all for a plain ack.
 */
export class ServerAcks {
  readonly #expected = new Map<string, (ack: ServerAck) => void>();

  constructor(source: NodeSource, onReceipt: (receipt: RawReceipt) => void) {
    source.on('CB:ack,class:message', (node) => {
      const { id, error } = node.attrs;
      if (id) this.#settle(id, error ? { accepted: false, error } : { accepted: true });
    });
    source.on('CB:receipt', (node) => {
      const ids = idsOf(node);
      // Whoever receipts a message has it from the server.
      for (const id of ids) this.#settle(id, { accepted: true });
      const status = statusOf(node);
      if (status) onReceipt({ ids, status, atSeconds: Number(node.attrs.t) || null });
    });
  }

  /** To be called before the message is sent. Never rejects; resolves with `undefined` when given up. */
  expect(id: string, signal: AbortSignal): Promise<ServerAck | undefined> {
    return new Promise((resolve) => {
      const done = (ack: ServerAck | undefined) => {
        signal.removeEventListener('abort', giveUp);
        this.#expected.delete(id);
        resolve(ack);
      };
      const giveUp = () => done(undefined);
      if (signal.aborted) return resolve(undefined);
      signal.addEventListener('abort', giveUp);
      this.#expected.set(id, done);
    });
  }

  #settle(id: string, ack: ServerAck): void {
    this.#expected.get(id)?.(ack);
  }
}

function idsOf(node: BinaryNode): string[] {
  const ids = node.attrs.id ? [node.attrs.id] : [];
  if (!Array.isArray(node.content)) return ids;
  const list = node.content.find((child) => child.tag === 'list');
  if (!Array.isArray(list?.content)) return ids;
  for (const item of list.content) if (item.attrs.id) ids.push(item.attrs.id);
  return ids;
}

function statusOf(node: BinaryNode): RawReceipt['status'] | null {
  // With `recipient`, it is about what another device of this account sent or read.
  if (node.attrs.recipient) return null;
  switch (node.attrs.type) {
    case undefined:
    case '':
    case 'inactive':
      return 'delivered';
    case 'read':
    case 'played':
      return 'read';
    default:
      return null;
  }
}
