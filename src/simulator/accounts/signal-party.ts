import { createHash } from 'node:crypto';
import { unpadRandomMax16, writeRandomPadMax16 } from '@whiskeysockets/baileys';
import { ProtocolAddress, SessionBuilder, SessionCipher, SessionRecord, type SignalStorage } from 'libsignal';
import { generateKeyPair, type RawKeyPair, type SigningKeyPair, signingKeyPair } from '../keys/curve-keys.ts';

const KEY_TYPE = Buffer.from([5]);
const withType = (key: Uint8Array): Buffer => Buffer.concat([KEY_TYPE, key]);

/** What a sender needs to open a session with a device. Keys are raw, 32 bytes. */
export interface KeyBundle {
  readonly registrationId: number;
  readonly identity: Buffer;
  readonly signedPreKey: { readonly id: number; readonly public: Buffer; readonly signature: Buffer };
  readonly preKey?: { readonly id: number; readonly public: Buffer };
}

export interface Ciphertext {
  readonly type: 'pkmsg' | 'msg';
  readonly data: Buffer;
}

const SIGNED_PRE_KEY_ID = 1;

/**
 * The Signal end of a simulated person's phone: really decrypts what clients send to it, and encrypts to them.
 * It hands out no one-time pre-keys (a device that has run out of them hands out none either), so that a person
 * costs two key pairs. Sessions are kept as JSON text: about 1.5 kB each.
 */
export class SignalParty {
  readonly identity: SigningKeyPair;
  readonly #registrationId: number;
  readonly #signedPreKey: RawKeyPair;
  readonly #signature: Buffer;
  readonly #sessions = new Map<string, string>();
  readonly #storage: SignalStorage;

  /** @param seed decides the identity key; the same seed gives the same person */
  constructor(seed: string) {
    const digest = createHash('sha256').update(seed).digest();
    this.identity = signingKeyPair(digest);
    this.#registrationId = digest.readUInt16BE(0) & 0x3fff;
    this.#signedPreKey = generateKeyPair();
    this.#signature = this.identity.sign(withType(this.#signedPreKey.public));
    this.#storage = this.#makeStorage();
  }

  bundle(): KeyBundle {
    return {
      registrationId: this.#registrationId,
      identity: this.identity.public,
      signedPreKey: { id: SIGNED_PRE_KEY_ID, public: this.#signedPreKey.public, signature: this.#signature },
    };
  }

  hasSession(address: string): boolean {
    return this.#sessions.has(address);
  }

  forgetSession(address: string): void {
    this.#sessions.delete(address);
  }

  async openSession(address: string, bundle: KeyBundle): Promise<void> {
    const { signedPreKey, preKey } = bundle;
    await new SessionBuilder(this.#storage, toProtocolAddress(address)).initOutgoing({
      registrationId: bundle.registrationId,
      identityKey: withType(bundle.identity),
      signedPreKey: {
        keyId: signedPreKey.id,
        publicKey: withType(signedPreKey.public),
        signature: signedPreKey.signature,
      },
      // The declaration makes the one-time key mandatory; the library does not.
      ...(preKey && { preKey: { keyId: preKey.id, publicKey: withType(preKey.public) } }),
    } as Parameters<SessionBuilder['initOutgoing']>[0]);
  }

  /** @throws Error when there is no session with `address` */
  async encrypt(address: string, message: Uint8Array): Promise<Ciphertext> {
    const cipher = new SessionCipher(this.#storage, toProtocolAddress(address));
    const { type, body } = await cipher.encrypt(writeRandomPadMax16(message));
    return { type: type === 3 ? 'pkmsg' : 'msg', data: Buffer.from(body, 'binary') };
  }

  /**
   * @returns the encoded `proto.Message`, without padding
   * @throws Error when it was not encrypted to this party, or was decrypted before
   */
  async decrypt(address: string, { type, data }: Ciphertext): Promise<Uint8Array> {
    const cipher = new SessionCipher(this.#storage, toProtocolAddress(address));
    const plaintext =
      type === 'pkmsg'
        ? await cipher.decryptPreKeyWhisperMessage(data)
        : await cipher.decryptWhisperMessage(data);
    return unpadRandomMax16(plaintext);
  }

  #makeStorage(): SignalStorage {
    return {
      loadSession: async (id) => {
        const text = this.#sessions.get(id);
        return text === undefined ? null : SessionRecord.deserialize(JSON.parse(text) as Uint8Array);
      },
      storeSession: async (id, record) => {
        this.#sessions.set(id, JSON.stringify(record.serialize()));
      },
      isTrustedIdentity: () => true,
      loadPreKey: async () => undefined,
      removePreKey: () => undefined,
      loadSignedPreKey: () => ({
        privKey: this.#signedPreKey.private,
        pubKey: withType(this.#signedPreKey.public),
      }),
      getOurRegistrationId: () => this.#registrationId,
      getOurIdentity: () => ({ privKey: this.identity.private, pubKey: withType(this.identity.public) }),
    };
  }
}

/** The Signal address of a device, as the simulator names it: `<phone>.<device>`. */
export const signalAddress = (phone: string, device: number): string => `${phone}.${device}`;

function toProtocolAddress(address: string): ProtocolAddress {
  const dot = address.lastIndexOf('.');
  return new ProtocolAddress(address.slice(0, dot), Number(address.slice(dot + 1)));
}
