import {
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';

const X25519_PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
const X25519_PUBLIC_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');
const ED25519_PRIVATE_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const ED25519_PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const RAW_BYTES = 32;

/** An X25519 key pair, raw: 32 bytes each. */
export interface RawKeyPair {
  readonly private: Buffer;
  readonly public: Buffer;
}

/** An X25519 key pair that also signs (XEdDSA). */
export interface SigningKeyPair extends RawKeyPair {
  /** @returns a 64-byte XEdDSA signature that verifies against the X25519 public key */
  sign(message: Uint8Array): Buffer;
}

const tail = (der: Buffer): Buffer => Buffer.from(der.subarray(der.length - RAW_BYTES));
const x25519Private = (raw: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([X25519_PRIVATE_PREFIX, raw]), format: 'der', type: 'pkcs8' });
const publicOf = (key: KeyObject): Buffer =>
  tail(createPublicKey(key).export({ format: 'der', type: 'spki' }));

export function generateKeyPair(): RawKeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('x25519', {
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
    publicKeyEncoding: { format: 'der', type: 'spki' },
  });
  return { private: tail(privateKey), public: tail(publicKey) };
}

/** X25519. Both keys raw, 32 bytes. */
export function sharedKey(privateKey: Uint8Array, publicKey: Uint8Array): Buffer {
  return diffieHellman({
    privateKey: x25519Private(privateKey),
    publicKey: createPublicKey({
      key: Buffer.concat([X25519_PUBLIC_PREFIX, publicKey]),
      format: 'der',
      type: 'spki',
    }),
  });
}

/**
 * A signing pair from a 32-byte seed.
 *
 * XEdDSA in JavaScript takes 15 ms a signature, too slow for hundreds of simulated people. An Ed25519 key made from
 * a seed has the clamped first half of SHA-512(seed) as its scalar: used as X25519 private key, that scalar belongs
 * to the same point, and the native Ed25519 signature is a valid XEdDSA one once the sign bit of the Edwards point
 * is put where XEdDSA expects it.
 */
export function signingKeyPair(seed: Buffer): SigningKeyPair {
  const edwards = createPrivateKey({
    key: Buffer.concat([ED25519_PRIVATE_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const signBit = (publicOf(edwards)[RAW_BYTES - 1] ?? 0) & 0x80;
  const scalar = createHash('sha512').update(seed).digest().subarray(0, RAW_BYTES);
  scalar[0] = (scalar[0] ?? 0) & 0xf8;
  scalar[31] = ((scalar[31] ?? 0) & 0x7f) | 0x40;
  return {
    private: Buffer.from(scalar),
    public: publicOf(x25519Private(scalar)),
    sign(message) {
      const signature = sign(null, message, edwards);
      signature[63] = (signature[63] ?? 0) | signBit;
      return signature;
    },
  };
}

const P = 2n ** 255n - 19n;

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = base % P, left = exponent; left > 0n; left >>= 1n) {
    if (left & 1n) result = (result * square) % P;
    square = (square * square) % P;
  }
  return result;
}

const fromLittleEndian = (bytes: Uint8Array): bigint =>
  BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);

/**
 * Checks an XEdDSA signature against a raw X25519 public key: the Ed25519 check, on the Edwards point
 * y = (u - 1) / (u + 1) with the sign that the signature carries.
 */
export function verifySignature(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const u = fromLittleEndian(publicKey) & (2n ** 255n - 1n);
  const y = ((u - 1n + P) * power(u + 1n, P - 2n)) % P;
  const edwards = Buffer.from(y.toString(16).padStart(64, '0'), 'hex').reverse();
  const plain = Buffer.from(signature);
  edwards[31] = (edwards[31] ?? 0) | ((plain[63] ?? 0) & 0x80);
  plain[63] = (plain[63] ?? 0) & 0x7f;
  const key = createPublicKey({
    key: Buffer.concat([ED25519_PUBLIC_PREFIX, edwards]),
    format: 'der',
    type: 'spki',
  });
  return verify(null, message, key, plain);
}
