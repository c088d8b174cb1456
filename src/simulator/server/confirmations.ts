import type { BinaryNode } from '@whiskeysockets/baileys';
import { type Device, lidJid, phoneJid } from '../accounts/directory.ts';
import { messageKey, receiptKey } from '../accounts/mailbox.ts';
import type { Network } from '../network.ts';
import { childrenOf, element, elementsOf } from '../wire/nodes.ts';
import type { ClientConnection } from './connection.ts';
import type { Inbound } from './inbound.ts';
import { forwardReceipt } from './receipts.ts';

/** A client's `<receipt>`: settles what its mailbox held, and tells the sender. */
export async function takeReceipt(
  network: Network,
  inbound: Inbound,
  connection: ClientConnection,
  node: BinaryNode,
): Promise<void> {
  const reader = connection.device;
  const { id, to, type } = node.attrs;
  if (!reader || !id) return;
  connection.send(element('ack', { class: 'receipt', id, from: to, type }));
  const ids = [id, ...elementsOf(childrenOf(node, 'list')[0]).flatMap(({ attrs }) => attrs.id ?? [])];
  const settled = type === 'retry' ? [] : ids.filter((each) => reader.mailbox.settle(messageKey(each)));
  const target = network.directory.resolve(to);
  // A copy of what another device of the same phone sent: nobody else wants to know.
  if (!target || type === 'sender' || type === 'peer_msg' || type === 'hist_sync') return;
  const device = target.account.devices.get(target.device) ?? senderOf(network, target.account.phone, id);
  if (device) {
    const own = to?.endsWith('@lid') ? lidJid : phoneJid;
    const record = network.recorder.get(id);
    if (type === 'retry' && record) network.recorder.retryAsked(record);
    return forwardReceipt(network, own(reader.account, reader.number), device, node, ids);
  }
  if (type === 'retry') await inbound.again(id, reader, node);
  else for (const each of settled) inbound.confirmed(each);
}

/** Which device of the phone sent a message: receipts may name the account alone. */
function senderOf(network: Network, phone: string, id: string): Device | undefined {
  const record = network.recorder.get(id);
  if (record?.from !== phone) return undefined;
  return network.directory.account(phone).devices.get(record.fromDevice);
}

/** A client's `<ack>` of something that the network sent. */
export function takeAck(connection: ClientConnection, node: BinaryNode): void {
  const { id, class: kind, type } = node.attrs;
  const mailbox = connection.device?.mailbox;
  if (!mailbox || !id) return;
  if (kind === 'receipt') mailbox.settle(receiptKey(id, type));
  // An ack of a message instead of a receipt is a refusal: sending it again would not help.
  if (kind === 'message') mailbox.settle(messageKey(id));
}
