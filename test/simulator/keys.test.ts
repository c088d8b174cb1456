import { randomBytes, X509Certificate } from 'node:crypto';
import { Curve, proto } from '@whiskeysockets/baileys';
import * as libsignal from 'libsignal';
import { describe, expect, it } from 'vitest';
import { makeHostCertificates } from '../../src/simulator/keys/certificate.ts';
import {
  generateKeyPair,
  sharedKey,
  signingKeyPair,
  verifySignature,
} from '../../src/simulator/keys/curve-keys.ts';
import { makeNoiseIdentity } from '../../src/simulator/keys/noise-root.ts';

// Baileys' own Curve.verify drops the answer of libsignal and says yes to everything: ask libsignal.
const { curve } = libsignal as unknown as {
  curve: { verifySignature(key: Buffer, message: Uint8Array, signature: Uint8Array): boolean };
};
const libsignalVerify = (key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean =>
  curve.verifySignature(Buffer.concat([Buffer.from([5]), key]), message, signature);

describe('keys', () => {
  it('makes XEdDSA signatures that libsignal accepts, and accepts those of libsignal', () => {
    for (let round = 0; round < 8; round += 1) {
      const pair = signingKeyPair(randomBytes(32));
      const message = randomBytes(100);
      const signature = pair.sign(message);
      expect(libsignalVerify(pair.public, message, signature)).toBe(true);
      expect(libsignalVerify(pair.public, randomBytes(100), signature)).toBe(false);
      expect(verifySignature(pair.public, message, signature)).toBe(true);
      const theirs = Curve.generateKeyPair();
      const theirSignature = Curve.sign(theirs.private, message);
      expect(verifySignature(theirs.public, message, theirSignature)).toBe(true);
      expect(verifySignature(theirs.public, randomBytes(100), theirSignature)).toBe(false);
    }
  });

  it('agrees on shared keys with libsignal', () => {
    const ours = generateKeyPair();
    const signing = signingKeyPair(randomBytes(32));
    const theirs = Curve.generateKeyPair();
    expect(sharedKey(ours.private, theirs.public)).toEqual(Curve.sharedKey(theirs.private, ours.public));
    expect(sharedKey(signing.private, theirs.public)).toEqual(
      Curve.sharedKey(theirs.private, signing.public),
    );
  });

  it('makes 300 people in well under a second', () => {
    const start = performance.now();
    for (let person = 0; person < 300; person += 1) signingKeyPair(randomBytes(32)).sign(randomBytes(33));
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it('signs the Noise chain from the root down', () => {
    const { rootPublic, staticKey, certificate } = makeNoiseIdentity();
    const { intermediate, leaf } = proto.CertChain.decode(certificate);
    const details = proto.CertChain.NoiseCertificate.Details;
    const signedBy = (key: Uint8Array, part: typeof leaf): boolean =>
      libsignalVerify(key, part?.details ?? Buffer.alloc(0), part?.signature ?? Buffer.alloc(0));
    expect(signedBy(rootPublic, intermediate)).toBe(true);
    expect(signedBy(details.decode(intermediate!.details!).key!, leaf)).toBe(true);
    expect(Buffer.from(details.decode(leaf!.details!).key!)).toEqual(staticKey.public);
  });

  it('makes a host certificate that its own authority vouches for', () => {
    const { caPem, host } = makeHostCertificates('127.0.0.1', Date.parse('2026-01-01'));
    const authority = new X509Certificate(caPem);
    const certificate = new X509Certificate(host.certPem);
    expect(authority.ca).toBe(true);
    expect(certificate.ca).toBe(false);
    expect(certificate.verify(authority.publicKey)).toBe(true);
    expect(certificate.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(certificate.checkHost('localhost')).toBe('localhost');
    expect(new Date(certificate.validTo).getFullYear()).toBe(2035);
  });
});
