import type { BinaryNode } from '@whiskeysockets/baileys';
import type { Account, Device } from '../accounts/directory.ts';
import { receiptKey } from '../accounts/mailbox.ts';
import { type Network, stanzaTime } from '../network.ts';
import { bigEndian, element } from '../wire/nodes.ts';

/** A message that a simulated person has got, and the device to tell about it. */
export interface Delivery {
  readonly id: string;
  readonly sender: Device;
  readonly recipient: Account;
  /** The JID that the sender wrote to: the receipts come from it. */
  readonly to: string;
}

/** Confirms a delivery after the times that the recipient's policy sets. */
export function scheduleReceipts(network: Network, delivery: Delivery): void {
  const policy = { ...network.settings.receipts, ...delivery.recipient.receipts };
  if (policy.deliveredAfterMs !== null) {
    network.schedule.after(policy.deliveredAfterMs, () => confirm(network, delivery, undefined));
  }
  if (policy.readAfterMs !== null) {
    network.schedule.after(policy.readAfterMs, () => confirm(network, delivery, 'read'));
  }
}

function confirm(network: Network, delivery: Delivery, type: 'read' | undefined): void {
  const { id, sender, to } = delivery;
  network.recorder.confirmed(id, type === 'read' ? 'readAt' : 'deliveredAt', network.clock.nowMs());
  sender.mailbox.post(
    receiptKey(id, type),
    element('receipt', { from: to, id, type, t: stanzaTime(network) }),
  );
}

/** The recipient could not read the message: asks the sender for it again. */
export function askRetry(network: Network, delivery: Delivery, count: number): void {
  const { id, sender, to, recipient } = delivery;
  const t = stanzaTime(network);
  sender.mailbox.post(
    receiptKey(id, 'retry'),
    element('receipt', { from: to, id, type: 'retry', t }, [
      element('retry', { count: count.toString(), id, t, v: '1', error: '0' }),
      element('registration', {}, bigEndian(recipient.party().bundle().registrationId, 4)),
    ]),
  );
}

/** Passes a companion's receipt on to the device that sent the message. */
export function forwardReceipt(
  network: Network,
  from: string,
  target: Device,
  receipt: BinaryNode,
  ids: string[],
): void {
  // "inactive" says that the reader was not looking; to the sender it is a delivery like any other.
  const type = receipt.attrs.type === 'inactive' ? undefined : receipt.attrs.type;
  const content = Array.isArray(receipt.content)
    ? receipt.content.filter(({ tag }) => tag !== 'list')
    : undefined;
  for (const id of ids) {
    if (type === undefined || type === 'read') {
      network.recorder.confirmed(id, type ? 'readAt' : 'deliveredAt', network.clock.nowMs());
    }
    const attrs = { from, id, type, t: stanzaTime(network), recipient: receipt.attrs.recipient };
    target.mailbox.post(receiptKey(id, type), element('receipt', attrs, content));
  }
}
