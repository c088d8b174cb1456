import {
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';

const MAC_BYTES = 10;
const NO_SALT = Buffer.alloc(0);

/** Where an encrypted file of a message lies, and the key to it. */
export interface MediaReference {
  readonly directPath: string;
  readonly mediaKey: Uint8Array;
}

/** The encrypted files that clients uploaded, in memory; the oldest goes when there are too many bytes. */
export class MediaStore {
  readonly #files = new Map<string, Buffer>();
  readonly #hashes = new Map<string, string>();
  readonly #auths = new Map<string, { client: string; proxy: string | undefined }>();
  readonly #authOf = new Map<string, string>();
  readonly #maxBytes: number;
  #bytes = 0;
  readonly #byMessage = new Map<string, MediaReference>();
  /** Uploads that were stored. */
  uploads = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The upload token of a client; it remembers through which proxy the client's chat runs. */
  authFor(client: string, proxy: string | undefined): string {
    let auth = this.#authOf.get(client);
    if (!auth) {
      auth = randomBytes(16).toString('hex');
      this.#authOf.set(client, auth);
    }
    this.#auths.set(auth, { client, proxy });
    return auth;
  }

  /** Who a token was given to; undefined for one that was never given. */
  ownerOf(auth: string): { client: string; proxy: string | undefined } | undefined {
    return this.#auths.get(auth);
  }

  put(path: string, data: Buffer): void {
    this.#bytes += data.length - (this.#files.get(path)?.length ?? 0);
    this.#files.delete(path);
    this.#files.set(path, data);
    this.uploads += 1;
    for (const [oldest, file] of this.#files) {
      if (this.#bytes <= this.#maxBytes || oldest === path) break;
      this.#files.delete(oldest);
      this.#bytes -= file.length;
    }
  }

  get(path: string): Buffer | undefined {
    return this.#files.get(path);
  }

  /** Notes which file came with a message, so that it can be looked at later. */
  remember(messageId: string, reference: MediaReference): void {
    this.#byMessage.set(messageId, reference);
  }

  /** The decrypted file of a message, if there was one and it is still here. */
  ofMessage(messageId: string): Buffer | undefined {
    const reference = this.#byMessage.get(messageId);
    return reference && this.open(reference);
  }

  /**
   * The file as its sender had it.
   * @returns undefined when it was never uploaded, or has been dropped since
   * @throws Error when it does not fit the key
   */
  open({ directPath, mediaKey }: MediaReference, kind = 'Image'): Buffer | undefined {
    const file = this.#files.get(directPath);
    if (!file) return undefined;
    const keys = Buffer.from(hkdfSync('sha256', mediaKey, NO_SALT, `WhatsApp ${kind} Keys`, 112));
    const iv = keys.subarray(0, 16);
    const body = file.subarray(0, -MAC_BYTES);
    const mac = createHmac('sha256', keys.subarray(48, 80)).update(iv).update(body).digest();
    if (!timingSafeEqual(mac.subarray(0, MAC_BYTES), file.subarray(-MAC_BYTES))) {
      throw new Error('the uploaded file does not fit the media key of the message');
    }
    const decipher = createDecipheriv('aes-256-cbc', keys.subarray(16, 48), iv);
    return Buffer.concat([decipher.update(body), decipher.final()]);
  }

  /** SHA-256 (hex) of the opened file. Computed once per upload and key: a campaign sends one image to many. */
  hash(reference: MediaReference): string | undefined {
    const key = `${reference.directPath}\0${Buffer.from(reference.mediaKey).toString('base64')}`;
    const known = this.#hashes.get(key);
    if (known) return known;
    const file = this.open(reference);
    if (!file) return undefined;
    const hash = createHash('sha256').update(file).digest('hex');
    this.#hashes.set(key, hash);
    return hash;
  }
}
