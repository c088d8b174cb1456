import { createHmac, randomBytes } from 'node:crypto';
import { type BinaryNode, proto } from '@whiskeysockets/baileys';
import type { Clock } from '../../kernel/clock.ts';
import { invalid, notFound } from '../../kernel/errors.ts';
import { type Device, type Directory, lidJid, phoneJid } from '../accounts/directory.ts';
import { verifySignature } from '../keys/curve-keys.ts';
import { bytesOf, childOf, element, SERVER_JID } from '../wire/nodes.ts';
import type { ClientConnection } from './connection.ts';

const REFS = 6;
const ACCOUNT_SIGNATURE = Buffer.from([6, 0]);
const DEVICE_SIGNATURE = Buffer.from([6, 1]);
const QR_FIELDS = 5;

/** A client that shows a QR code and waits for a phone. */
interface Offer {
  readonly connection: ClientConnection;
  readonly refs: string[];
  readonly identity: Buffer;
  /** After a scan: what the client's answer is checked against. */
  scanned?: { phone: string; details: Uint8Array; accountKey: Buffer; device: Device };
}

/** The content of a QR code: `[url#]ref,noise key,identity key,adv secret,platform`. */
function parseQr(qr: string): { ref: string; noiseKey: Buffer; identity: Buffer; secret: Buffer } {
  const fields = qr.slice(qr.indexOf('#') + 1).split(',');
  const [ref, noise, identity, secret] = fields;
  if (fields.length < QR_FIELDS - 1 || !ref || !noise || !identity || !secret) {
    throw invalid('bad_qr', 'qr must be the raw content of a pairing code');
  }
  return {
    ref,
    noiseKey: Buffer.from(noise, 'base64'),
    identity: Buffer.from(identity, 'base64'),
    secret: Buffer.from(secret, 'base64'),
  };
}

/** Where phones meet the clients that want to be paired. */
export class PairingDesk {
  readonly #byRef = new Map<string, Offer>();
  readonly #byConnection = new Map<ClientConnection, Offer>();
  readonly #directory: Directory;
  readonly #clock: Clock;

  constructor(dependencies: { directory: Directory; clock: Clock }) {
    this.#directory = dependencies.directory;
    this.#clock = dependencies.clock;
  }

  /** A client without an account: gives it references to make QR codes of. */
  offer(connection: ClientConnection, payload: proto.ClientPayload): void {
    const identity = payload.devicePairingData?.eIdent;
    if (!identity) {
      connection.drop();
      return;
    }
    const refs = Array.from({ length: REFS }, () => `2@${randomBytes(48).toString('base64')}`);
    const offer: Offer = { connection, refs, identity: Buffer.from(identity) };
    this.#byConnection.set(connection, offer);
    for (const ref of refs) this.#byRef.set(ref, offer);
    connection.send(
      element('iq', { from: SERVER_JID, type: 'set', xmlns: 'md', id: randomBytes(4).toString('hex') }, [
        element(
          'pair-device',
          {},
          refs.map((ref) => element('ref', {}, Buffer.from(ref))),
        ),
      ]),
    );
  }

  forget(connection: ClientConnection): void {
    const offer = this.#byConnection.get(connection);
    if (!offer) return;
    this.#byConnection.delete(connection);
    for (const ref of offer.refs) this.#byRef.delete(ref);
  }

  /** Clients that wait for a phone. */
  get waiting(): number {
    return this.#byConnection.size;
  }

  /**
   * The phone scans: links the client that shows this code as a new device.
   * @throws FlotillaError `bad_qr`, `qr_expired`, `device_cap_reached`
   */
  scan(phone: string, qr: string): Device {
    const { ref, noiseKey, identity, secret } = parseQr(qr);
    const offer = this.#byRef.get(ref);
    if (!offer || offer.connection.closed) {
      throw notFound('qr_expired', 'no client is waiting with this code');
    }
    if (noiseKey.toString('hex') !== offer.connection.noiseKey || !identity.equals(offer.identity)) {
      throw invalid('bad_qr', 'the keys in the code are not those of the client that waits with it');
    }
    const device = this.#directory.link(phone, offer.connection.noiseKey);
    const party = device.account.party();
    const details = proto.ADVDeviceIdentity.encode({
      rawId: randomBytes(4).readUInt32BE(0),
      timestamp: Math.floor(this.#clock.nowMs() / 1000),
      keyIndex: device.number,
      accountType: proto.ADVEncryptionType.E2EE,
      deviceType: proto.ADVEncryptionType.E2EE,
    }).finish();
    const signed = proto.ADVSignedDeviceIdentity.encode({
      details,
      accountSignatureKey: party.identity.public,
      accountSignature: party.identity.sign(Buffer.concat([ACCOUNT_SIGNATURE, details, offer.identity])),
    }).finish();
    const sealed = proto.ADVSignedDeviceIdentityHMAC.encode({
      details: signed,
      hmac: createHmac('sha256', secret).update(signed).digest(),
    }).finish();
    for (const each of offer.refs) this.#byRef.delete(each);
    offer.scanned = { phone, details, accountKey: party.identity.public, device };
    offer.connection.send(
      element('iq', { from: SERVER_JID, type: 'set', id: randomBytes(4).toString('hex') }, [
        element('pair-success', {}, [
          element('device-identity', {}, sealed),
          element('biz', { name: device.account.name }),
          element('device', {
            jid: phoneJid(device.account, device.number),
            lid: lidJid(device.account, device.number),
          }),
          element('platform', { name: 'android' }),
        ]),
      ]),
    );
    return device;
  }

  /** The client's answer to a scan: checked, then told to connect again (515). */
  answer(connection: ClientConnection, node: BinaryNode): void {
    const identityNode = childOf(childOf(node, 'pair-device-sign'), 'device-identity');
    const offer = this.#byConnection.get(connection);
    const signed = bytesOf(identityNode);
    if (!signed || !offer?.scanned) return;
    const { details, accountKey, device } = offer.scanned;
    const { deviceSignature } = proto.ADVSignedDeviceIdentity.decode(signed);
    const message = Buffer.concat([DEVICE_SIGNATURE, details, offer.identity, accountKey]);
    this.forget(connection);
    if (!deviceSignature || !verifySignature(offer.identity, message, deviceSignature)) {
      this.#directory.unlink(device);
      connection.drop();
      return;
    }
    connection.endWithError(515);
  }
}
