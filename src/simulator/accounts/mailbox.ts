import type { BinaryNode } from '@whiskeysockets/baileys';

/** Sends to the device if it is connected; otherwise does nothing. */
export type Deliver = (stanza: BinaryNode) => void;

/**
 * The stanzas that a device has not confirmed yet. What is posted while the device is away, or lost with its
 * connection, is sent again at its next login: the offline queue.
 */
export class Mailbox {
  readonly #pending = new Map<string, BinaryNode>();
  #deliver: Deliver | undefined;

  get size(): number {
    return this.#pending.size;
  }

  /** Keeps `stanza` under `key` until `settle(key)`, and sends it now if the device is there. */
  post(key: string, stanza: BinaryNode): void {
    this.#pending.set(key, stanza);
    this.#deliver?.(stanza);
  }

  /** @returns whether something was waiting under that key */
  settle(key: string): boolean {
    return this.#pending.delete(key);
  }

  /** The device is there: what waits goes out first, marked as offline. @returns how many stanzas waited */
  open(deliver: Deliver): number {
    this.#deliver = deliver;
    for (const stanza of this.#pending.values()) {
      deliver({ ...stanza, attrs: { ...stanza.attrs, offline: '0' } });
    }
    return this.#pending.size;
  }

  /** The device has gone. Only the connection that opened the mailbox closes it. */
  close(deliver: Deliver): void {
    if (this.#deliver === deliver) this.#deliver = undefined;
  }
}

export const messageKey = (id: string): string => `message:${id}`;
export const receiptKey = (id: string, type: string | undefined): string => `receipt:${id}:${type ?? ''}`;
