import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { joined } from '../../kernel/bytes.ts';
import { SealBroken, type Sealer } from '../../services/auth-state/ports.ts';

const ALGORITHM = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * AES-256-GCM. A sealed value is nonce (12 bytes, random), ciphertext and tag (16 bytes); of a text their base64.
 * @param key 32 bytes, as 64 hex digits or as base64
 * @throws Error when it is not 32 bytes
 */
export function createAesGcmSealer(key: string): Sealer {
  const secret = /^[0-9a-f]{64}$/i.test(key) ? Buffer.from(key, 'hex') : Buffer.from(key, 'base64');
  if (secret.length !== KEY_BYTES) {
    throw new Error('AUTH_ENCRYPTION_KEY must be 32 bytes, as 64 hex digits or as base64.');
  }
  const sealBytes = (plain: Uint8Array, context: string): Buffer => {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(ALGORITHM, secret, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(context, 'utf8'));
    return joined([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  };
  const openBytes = (sealed: Uint8Array, context: string): Buffer => {
    if (sealed.length < NONCE_BYTES + TAG_BYTES) throw new SealBroken('the sealed value is too short');
    const nonce = sealed.subarray(0, NONCE_BYTES);
    const decipher = createDecipheriv(ALGORITHM, secret, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(context, 'utf8'));
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    try {
      const body = sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES);
      return Buffer.concat([decipher.update(body), decipher.final()]);
    } catch (error) {
      throw new SealBroken('the value was sealed with another key or for another entry', { cause: error });
    }
  };
  return {
    seal: (plain, context) => sealBytes(Buffer.from(plain, 'utf8'), context).toString('base64'),
    open: (sealed, context) => openBytes(Buffer.from(sealed, 'base64'), context).toString('utf8'),
    sealBytes,
    openBytes,
  };
}
