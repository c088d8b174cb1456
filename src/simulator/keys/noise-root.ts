import { randomBytes } from 'node:crypto';
import { proto } from '@whiskeysockets/baileys';
import { generateKeyPair, type RawKeyPair, signingKeyPair } from './curve-keys.ts';

/** What the server shows in the Noise handshake: its static key and the chain that leads to the root. */
export interface NoiseIdentity {
  /** Public key of the root (32 bytes): clients are told to trust it instead of WhatsApp's. */
  readonly rootPublic: Buffer;
  readonly staticKey: RawKeyPair;
  /** Encoded `CertChain`: root signs the intermediate, the intermediate signs the leaf. */
  readonly certificate: Buffer;
}

const { CertChain } = proto;

export function makeNoiseIdentity(): NoiseIdentity {
  const root = signingKeyPair(randomBytes(32));
  const intermediate = signingKeyPair(randomBytes(32));
  const staticKey = generateKeyPair();
  // Serial 0 is the root's: clients check it on the intermediate.
  const intermediateDetails = CertChain.NoiseCertificate.Details.encode({
    serial: 1,
    issuerSerial: 0,
    key: intermediate.public,
  }).finish();
  const leafDetails = CertChain.NoiseCertificate.Details.encode({
    serial: 2,
    issuerSerial: 1,
    key: staticKey.public,
  }).finish();
  const certificate = CertChain.encode({
    intermediate: { details: intermediateDetails, signature: root.sign(intermediateDetails) },
    leaf: { details: leafDetails, signature: intermediate.sign(leafDetails) },
  }).finish();
  return { rootPublic: root.public, staticKey, certificate: Buffer.from(certificate) };
}
