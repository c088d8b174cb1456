import type { BinaryNode } from '@whiskeysockets/baileys';
import { bigEndian, bytesOf, childOf, childrenOf, element, requiredBytes } from '../wire/nodes.ts';
import type { KeyBundle } from './signal-party.ts';

const KEY_TYPE = Buffer.from([5]);
const KEY_BYTES = 32;
const uint = (bytes: Buffer): number => bytes.readUIntBE(0, bytes.length);

/** The public keys that a companion device has uploaded. One-time keys are packed: 812 of them are 29 kB. */
export class DeviceKeys {
  #base: Omit<KeyBundle, 'preKey'> | undefined;
  #ids: number[] = [];
  #publics: Buffer = Buffer.alloc(0);
  #next = 0;

  /** One-time keys left. */
  get count(): number {
    return this.#ids.length - this.#next;
  }

  /** Whether anybody can open a session with the device. */
  get uploaded(): boolean {
    return this.#base !== undefined;
  }

  /** Takes in `<iq xmlns=encrypt type=set>` with registration, identity, list and skey. */
  upload(node: BinaryNode): void {
    const signed = childOf(node, 'skey');
    this.#base = {
      registrationId: uint(requiredBytes(node, 'registration')),
      identity: requiredBytes(node, 'identity'),
      signedPreKey: readSignedPreKey(signed),
    };
    const keys = childrenOf(childOf(node, 'list'), 'key');
    this.#ids = this.#ids.slice(this.#next).concat(keys.map((key) => uint(requiredBytes(key, 'id'))));
    this.#publics = Buffer.concat([
      this.#publics.subarray(this.#next * KEY_BYTES),
      ...keys.map((key) => requiredBytes(key, 'value')),
    ]);
    this.#next = 0;
  }

  rotate(node: BinaryNode): void {
    const signed = childOf(childOf(node, 'rotate'), 'skey');
    if (this.#base) this.#base = { ...this.#base, signedPreKey: readSignedPreKey(signed) };
  }

  /** A bundle for one sender; its one-time key is handed out this once. */
  take(): KeyBundle | undefined {
    if (!this.#base) return undefined;
    const id = this.#ids[this.#next];
    if (id === undefined) return this.#base;
    const start = this.#next++ * KEY_BYTES;
    const key = Buffer.from(this.#publics.subarray(start, start + KEY_BYTES));
    return { ...this.#base, preKey: { id, public: key } };
  }

  /** For `<digest>`: the keys on record, without spending any. */
  get base(): Omit<KeyBundle, 'preKey'> | undefined {
    return this.#base;
  }
}

function readSignedPreKey(node: BinaryNode | undefined): KeyBundle['signedPreKey'] {
  return {
    id: uint(requiredBytes(node, 'id')),
    public: requiredBytes(node, 'value'),
    signature: requiredBytes(node, 'signature'),
  };
}

/** The children of a `<user>` that carry a bundle. */
export function bundleNodes(bundle: KeyBundle): BinaryNode[] {
  const { signedPreKey, preKey } = bundle;
  const nodes = [
    element('registration', {}, bigEndian(bundle.registrationId, 4)),
    element('type', {}, KEY_TYPE),
    element('identity', {}, bundle.identity),
    element('skey', {}, [
      element('id', {}, bigEndian(signedPreKey.id, 3)),
      element('value', {}, signedPreKey.public),
      element('signature', {}, signedPreKey.signature),
    ]),
  ];
  if (preKey) {
    nodes.push(
      element('key', {}, [element('id', {}, bigEndian(preKey.id, 3)), element('value', {}, preKey.public)]),
    );
  }
  return nodes;
}

/** The bundle that a retry receipt brings along, if any. */
export function bundleOfRetryReceipt(receipt: BinaryNode): KeyBundle | undefined {
  const keys = childOf(receipt, 'keys');
  const registration = bytesOf(childOf(receipt, 'registration'));
  if (!keys || !registration) return undefined;
  const preKey = childOf(keys, 'key');
  return {
    registrationId: uint(registration),
    identity: requiredBytes(keys, 'identity'),
    signedPreKey: readSignedPreKey(childOf(keys, 'skey')),
    ...(preKey && {
      preKey: { id: uint(requiredBytes(preKey, 'id')), public: requiredBytes(preKey, 'value') },
    }),
  };
}
