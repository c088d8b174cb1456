import { createCipheriv, createDecipheriv, createHash, hkdfSync } from 'node:crypto';
import { proto } from '@whiskeysockets/baileys';
import { generateKeyPair, sharedKey } from '../keys/curve-keys.ts';
import type { NoiseIdentity } from '../keys/noise-root.ts';
import { NOISE_HEADER } from './frames.ts';

/** Noise_XX_25519_AESGCM_SHA256, padded to 32 bytes so that it is the first hash as it stands. */
const PROTOCOL_NAME = Buffer.from('Noise_XX_25519_AESGCM_SHA256\0\0\0\0');
const TAG_BYTES = 16;
const NO_DATA = Buffer.alloc(0);

function nonce(counter: number): Buffer {
  const iv = Buffer.alloc(12);
  iv.writeUInt32BE(counter, 8);
  return iv;
}

function seal(key: Buffer, counter: number, plaintext: Uint8Array, associated: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce(counter));
  cipher.setAAD(associated);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function open(key: Buffer, counter: number, sealed: Uint8Array, associated: Uint8Array): Buffer {
  const data = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce(counter));
  decipher.setAAD(associated);
  decipher.setAuthTag(data.subarray(data.length - TAG_BYTES));
  return Buffer.concat([decipher.update(data.subarray(0, data.length - TAG_BYTES)), decipher.final()]);
}

export interface ClientIdentity {
  /** The client's static Noise key: what names a device, before and after pairing. */
  readonly staticKey: Buffer;
  readonly payload: proto.ClientPayload;
}

/** The server's side of one connection: `hello`, `finish`, then `encrypt` and `decrypt`. */
export class NoiseResponder {
  readonly #identity: NoiseIdentity;
  readonly #ephemeral = generateKeyPair();
  #hash: Buffer = PROTOCOL_NAME;
  #salt: Buffer = PROTOCOL_NAME;
  #key: Buffer = PROTOCOL_NAME;
  #counter = 0;
  #sendKey: Buffer = NO_DATA;
  #receiveKey: Buffer = NO_DATA;
  #sent = 0;
  #received = 0;

  constructor(identity: NoiseIdentity) {
    this.#identity = identity;
    this.#mixHash(NOISE_HEADER);
  }

  /** @returns the encoded `serverHello` that answers an encoded `clientHello` */
  hello(frame: Uint8Array): Uint8Array {
    const ephemeral = proto.HandshakeMessage.decode(frame).clientHello?.ephemeral;
    if (!ephemeral) throw new Error('the client hello carries no key');
    this.#mixHash(ephemeral);
    this.#mixHash(this.#ephemeral.public);
    this.#mixKey(sharedKey(this.#ephemeral.private, ephemeral));
    const encryptedStatic = this.#sealHandshake(this.#identity.staticKey.public);
    this.#mixKey(sharedKey(this.#identity.staticKey.private, ephemeral));
    const payload = this.#sealHandshake(this.#identity.certificate);
    return proto.HandshakeMessage.encode({
      serverHello: { ephemeral: this.#ephemeral.public, static: encryptedStatic, payload },
    }).finish();
  }

  /** Ends the handshake; from here on `encrypt` and `decrypt` are in force. */
  finish(frame: Uint8Array): ClientIdentity {
    const finish = proto.HandshakeMessage.decode(frame).clientFinish;
    if (!finish?.static || !finish.payload) throw new Error('the client finish is incomplete');
    const staticKey = this.#openHandshake(finish.static);
    this.#mixKey(sharedKey(this.#ephemeral.private, staticKey));
    const payload = proto.ClientPayload.decode(this.#openHandshake(finish.payload));
    const [first, second] = this.#derive(NO_DATA);
    this.#receiveKey = first;
    this.#sendKey = second;
    return { staticKey, payload };
  }

  encrypt(plaintext: Uint8Array): Buffer {
    return seal(this.#sendKey, this.#sent++, plaintext, NO_DATA);
  }

  decrypt(sealed: Uint8Array): Buffer {
    return open(this.#receiveKey, this.#received++, sealed, NO_DATA);
  }

  #mixHash(data: Uint8Array): void {
    this.#hash = createHash('sha256').update(this.#hash).update(data).digest();
  }

  #derive(input: Uint8Array): [Buffer, Buffer] {
    const derived = Buffer.from(hkdfSync('sha256', input, this.#salt, NO_DATA, 64));
    return [derived.subarray(0, 32), derived.subarray(32)];
  }

  #mixKey(input: Uint8Array): void {
    [this.#salt, this.#key] = this.#derive(input);
    this.#counter = 0;
  }

  #sealHandshake(plaintext: Uint8Array): Buffer {
    const sealed = seal(this.#key, this.#counter++, plaintext, this.#hash);
    this.#mixHash(sealed);
    return sealed;
  }

  #openHandshake(sealed: Uint8Array): Buffer {
    const plaintext = open(this.#key, this.#counter++, sealed, this.#hash);
    this.#mixHash(sealed);
    return plaintext;
  }
}
