import { randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { type BinaryNode, proto } from '@whiskeysockets/baileys';
import { bundleOfRetryReceipt } from '../accounts/device-keys.ts';
import { type Account, type Device, lidJid, phoneJid } from '../accounts/directory.ts';
import { messageKey } from '../accounts/mailbox.ts';
import { signalAddress } from '../accounts/signal-party.ts';
import { type Network, stanzaTime } from '../network.ts';
import { element } from '../wire/nodes.ts';

const REMEMBERED = 10_000;

export interface InboundRequest {
  /** The person's number. */
  from: string;
  /** The session's phone. */
  to: string;
  text: string;
  /** Leaves Signal out: a `<plaintext>` message, as some system messages are. */
  plaintext?: boolean;
  /** Default: a random one. */
  id?: string;
}

/** What simulated people write to sessions. Keeps the last ones, in case a client asks for one again. */
export class Inbound {
  readonly #network: Network;
  readonly #welcomed = new WeakSet<Device>();
  readonly #sent = new Map<string, { from: Account; encoded: Uint8Array; receivedBy: number }>();

  constructor(network: Network) {
    this.#network = network;
  }

  /**
   * Writes to every device of the session's phone, at once or when it logs in.
   * @throws FlotillaError `unknown_device` when the phone has no linked device
   */
  async send(request: InboundRequest): Promise<{ id: string; devices: number }> {
    const { directory } = this.#network;
    const devices = directory.linked(request.to).filter(({ keys }) => request.plaintext || keys.uploaded);
    const from = directory.account(request.from);
    const id = request.id ?? newMessageId();
    const encoded = proto.Message.encode({ conversation: request.text }).finish();
    this.#remember(id, from, encoded);
    for (const device of devices) {
      const content = request.plaintext
        ? element('plaintext', {}, encoded)
        : await this.#encrypt(from, device, encoded);
      this.#post(id, from, device, content);
    }
    return { id, devices: devices.length };
  }

  /**
   * A phone's first words to a new device: a history sync with nothing in it. Without one, a client holds all
   * events back for 20 seconds after its first login.
   */
  async welcome(device: Device): Promise<void> {
    if (this.#welcomed.has(device) || !device.keys.uploaded) return;
    this.#welcomed.add(device);
    const syncType = proto.HistorySync.HistorySyncType.INITIAL_BOOTSTRAP;
    const history = proto.HistorySync.encode({ syncType }).finish();
    const encoded = proto.Message.encode({
      protocolMessage: {
        type: proto.Message.ProtocolMessage.Type.HISTORY_SYNC_NOTIFICATION,
        historySyncNotification: {
          syncType,
          progress: 100,
          initialHistBootstrapInlinePayload: deflateSync(history),
        },
      },
    }).finish();
    const phone = device.account;
    const id = newMessageId();
    this.#remember(id, phone, encoded);
    const content = await this.#encrypt(phone, device, encoded);
    this.#post(id, phone, device, content, { category: 'peer', sender_lid: undefined });
  }

  /** How many devices have confirmed the message; undefined for one that is not remembered. */
  receivedBy(id: string): number | undefined {
    return this.#sent.get(id)?.receivedBy;
  }

  confirmed(id: string): void {
    const message = this.#sent.get(id);
    if (message) message.receivedBy += 1;
  }

  /** A client could not decrypt: encrypts the message again in a fresh session. */
  async again(id: string, device: Device, receipt: BinaryNode): Promise<void> {
    const message = this.#sent.get(id);
    if (!message) return;
    const address = signalAddress(device.account.phone, device.number);
    const bundle = bundleOfRetryReceipt(receipt);
    message.from.party().forgetSession(address);
    if (bundle) await message.from.party().openSession(address, bundle);
    this.#post(id, message.from, device, await this.#encrypt(message.from, device, message.encoded));
  }

  async #encrypt(from: Account, device: Device, encoded: Uint8Array): Promise<BinaryNode> {
    const address = signalAddress(device.account.phone, device.number);
    if (!from.party().hasSession(address)) {
      const bundle = device.keys.take();
      if (!bundle) throw new Error('the device has uploaded no keys');
      await from.party().openSession(address, bundle);
    }
    const { type, data } = await from.party().encrypt(address, encoded);
    return element('enc', { v: '2', type }, data);
  }

  #post(
    id: string,
    from: Account,
    device: Device,
    content: BinaryNode,
    attrs: Record<string, string | undefined> = {},
  ): void {
    device.mailbox.post(
      messageKey(id),
      element(
        'message',
        {
          from: phoneJid(from),
          sender_lid: lidJid(from),
          id,
          t: stanzaTime(this.#network),
          notify: from.name,
          type: 'text',
          ...attrs,
        },
        [content],
      ),
    );
  }

  #remember(id: string, from: Account, encoded: Uint8Array): void {
    this.#sent.set(id, { from, encoded, receivedBy: 0 });
    const [oldest] = this.#sent.keys();
    if (this.#sent.size > REMEMBERED && oldest !== undefined) this.#sent.delete(oldest);
  }
}

const newMessageId = (): string => `3A${randomBytes(9).toString('hex').toUpperCase()}`;
