import type { BinaryNode } from '@whiskeysockets/baileys';
import { type Account, type Device, lidJid, phoneJid } from '../accounts/directory.ts';
import { messageKey } from '../accounts/mailbox.ts';
import { type Ciphertext, signalAddress } from '../accounts/signal-party.ts';
import type { Place } from '../faults.ts';
import { type Network, stanzaTime } from '../network.ts';
import type { MessageRecord } from '../recorder.ts';
import { bytesOf, childOf, childrenOf, element } from '../wire/nodes.ts';
import type { ClientConnection } from './connection.ts';
import { viewOf } from './content.ts';
import { askRetry, type Delivery, scheduleReceipts } from './receipts.ts';

const MAX_RETRIES_ASKED = 5;

/** One client's message on its way. */
interface Posting {
  readonly network: Network;
  readonly connection: ClientConnection;
  readonly sender: Device;
  readonly node: BinaryNode;
  readonly recipient: Account;
  readonly place: Place;
}

/** Takes in a `<message>` of a client: records it, brings it to its recipient's devices, and answers. */
export async function routeMessage(
  network: Network,
  connection: ClientConnection,
  node: BinaryNode,
): Promise<void> {
  const sender = connection.device;
  const { id, to } = node.attrs;
  if (!sender || !id) return;
  const recipient = network.directory.resolve(node.attrs.recipient ?? to)?.account;
  // Groups, broadcasts and what a device says to its own phone (`peer`) are taken in and lead nowhere.
  if (!recipient || node.attrs.category === 'peer') return acknowledge(network, connection, node);
  const place: Place = {
    phone: sender.account.phone,
    device: sender.number,
    recipient: recipient.phone,
    ...(connection.proxy !== undefined && { proxy: connection.proxy }),
  };
  if (network.faults.strike('half-open', place)) {
    connection.mute = true;
    return;
  }
  if (network.faults.strike('drop-before-record', place)) {
    network.recorder.lost();
    return connection.drop();
  }
  await accept({ network, connection, sender, node, recipient, place });
}

async function accept(posting: Posting): Promise<void> {
  const { network, connection, sender, node, recipient, place } = posting;
  const record = network.recorder.arrived({
    id: node.attrs.id ?? '',
    from: sender.account.phone,
    fromDevice: sender.number,
    to: recipient.phone,
    at: network.clock.nowMs(),
    proxy: connection.proxy,
  });
  const nack = recipient.onWhatsApp
    ? network.faults.strike('nack', place)
    : { code: network.settings.unknownRecipientCode };
  if (nack) {
    const code = nack.code ?? 500;
    network.recorder.refused(record, code);
    return acknowledge(network, connection, node, code);
  }
  const delivery: Delivery = {
    id: record.id,
    sender,
    recipient,
    to: node.attrs.recipient ?? node.attrs.to ?? phoneJid(recipient),
  };
  const shown = await bringToDevices(posting, record, delivery);
  answer(posting, () => {
    if (shown) scheduleReceipts(network, delivery);
  });
}

/** Acknowledges, unless a fault keeps the ack back or breaks the connection instead. */
function answer(posting: Posting, afterwards: () => void): void {
  const { network, connection, node, place } = posting;
  if (network.faults.strike('drop-before-ack', place)) {
    connection.drop();
    afterwards();
    return;
  }
  const delay = network.faults.strike('delay-ack', place);
  const acknowledgeNow = () => {
    acknowledge(network, connection, node);
    afterwards();
  };
  if (delay) network.schedule.after(delay.delayMs ?? 1000, acknowledgeNow);
  else acknowledgeNow();
}

function acknowledge(network: Network, connection: ClientConnection, node: BinaryNode, error?: number): void {
  connection.send(
    element('ack', {
      class: 'message',
      id: node.attrs.id,
      from: node.attrs.to,
      t: stanzaTime(network),
      error: error?.toString(),
    }),
  );
}

/** @returns whether the simulated person could read it (or the message was not for the person's phone) */
async function bringToDevices(posting: Posting, record: MessageRecord, delivery: Delivery): Promise<boolean> {
  let shown = true;
  for (const { jid, enc } of copiesOf(posting.node)) {
    const target = posting.network.directory.resolve(jid);
    const ciphertext = ciphertextOf(enc);
    if (!target || !ciphertext) continue;
    if (target.device !== 0) {
      forward(posting, target.account.devices.get(target.device), ciphertext);
    } else if (target.account === delivery.recipient) {
      shown = await show(posting, record, delivery, ciphertext);
    }
    // The sender's own phone gets a copy too; it keeps no record of what it did itself.
  }
  return shown;
}

/** The encrypted copies, one per device; a resend to a single device carries its copy directly. */
function copiesOf(node: BinaryNode): { jid: string | undefined; enc: BinaryNode | undefined }[] {
  const participants = childOf(node, 'participants');
  if (!participants) return [{ jid: node.attrs.to, enc: childOf(node, 'enc') }];
  return childrenOf(participants, 'to').map((to) => ({ jid: to.attrs.jid, enc: childOf(to, 'enc') }));
}

function ciphertextOf(enc: BinaryNode | undefined): Ciphertext | undefined {
  const data = bytesOf(enc);
  const type = enc?.attrs.type;
  return data && (type === 'pkmsg' || type === 'msg') ? { type, data } : undefined;
}

/** The person's phone decrypts and shows the message, or asks for it again. */
async function show(
  posting: Posting,
  record: MessageRecord,
  delivery: Delivery,
  ciphertext: Ciphertext,
): Promise<boolean> {
  const { network, sender, recipient, place } = posting;
  const address = signalAddress(sender.account.phone, sender.number);
  const party = recipient.party();
  let encoded: Uint8Array | undefined;
  try {
    encoded = await party.decrypt(address, ciphertext);
  } catch {
    // Not encrypted to this person, or with a ratchet that went backwards: what a real phone answers with a retry.
    network.recorder.undecryptable();
  }
  if (encoded && network.faults.strike('ask-retry', place)) {
    party.forgetSession(address);
    encoded = undefined;
  }
  if (encoded) {
    const { media, ...view } = viewOf(encoded, network.media);
    network.recorder.accepted(record, view);
    if (media) network.media.remember(record.id, media);
    return true;
  }
  if (record.retriesAsked < MAX_RETRIES_ASKED) {
    network.recorder.retryAsked(record);
    askRetry(network, delivery, record.retriesAsked);
  }
  return false;
}

/** A copy for a real client: goes out under the same id, addressed as the sender addressed it. */
function forward(posting: Posting, target: Device | undefined, { type, data }: Ciphertext): void {
  const { network, sender, node, recipient } = posting;
  if (!target) return;
  const { id, type: messageType } = node.attrs;
  const own = target.account === sender.account;
  const identity = childOf(node, 'device-identity');
  const content = [element('enc', { v: '2', type }, data)];
  if (identity) content.push(element('device-identity', {}, bytesOf(identity)));
  target.mailbox.post(
    messageKey(id ?? ''),
    element(
      'message',
      {
        from: phoneJid(sender.account, sender.number),
        sender_lid: lidJid(sender.account, sender.number),
        recipient: own ? phoneJid(recipient) : undefined,
        id,
        t: stanzaTime(network),
        notify: own ? undefined : sender.account.name,
        type: messageType ?? 'text',
      },
      content,
    ),
  );
}
