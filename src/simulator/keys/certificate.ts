import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

/** A certificate and its key, both PEM. */
export interface Certificate {
  readonly certPem: string;
  readonly keyPem: string;
}

/** A certificate authority of one's own, and the certificate of a host that it vouches for. */
export interface HostCertificates {
  readonly caPem: string;
  readonly host: Certificate;
}

const YEAR_MS = 365 * 24 * 3600 * 1000;
const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  text: 0x0c,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;
const ECDSA_SHA256 = Buffer.from('06082a8648ce3d040302', 'hex');
const OID_COMMON_NAME = Buffer.from('0603550403', 'hex');
const OID_BASIC_CONSTRAINTS = Buffer.from('0603551d13', 'hex');
const OID_KEY_USAGE = Buffer.from('0603551d0f', 'hex');
const OID_SUBJECT_ALT_NAME = Buffer.from('0603551d11', 'hex');

/** One DER element: tag, length, content. */
function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content]);
  const length = Buffer.from(content.length.toString(16).padStart(content.length > 0xff ? 4 : 2, '0'), 'hex');
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, content]);
}

const nameOf = (common: string): Buffer =>
  der(TAG.sequence, der(TAG.set, der(TAG.sequence, OID_COMMON_NAME, der(TAG.text, Buffer.from(common)))));

const timeOf = (ms: number): Buffer =>
  der(TAG.time, Buffer.from(`${new Date(ms).toISOString().replace(/[-:T]|\..*/g, '')}Z`));

const extension = (oid: Buffer, value: Buffer, critical = false): Buffer =>
  der(
    TAG.sequence,
    oid,
    ...(critical ? [der(TAG.boolean, Buffer.from([0xff]))] : []),
    der(TAG.octets, value),
  );

const pem = (label: string, data: Buffer): string =>
  `-----BEGIN ${label}-----\n${data.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END ${label}-----\n`;

interface CertificateRequest {
  subject: string;
  issuer: string;
  publicKey: KeyObject;
  signer: KeyObject;
  nowMs: number;
  extensions: Buffer[];
}

function issue(request: CertificateRequest): Buffer {
  const { publicKey, signer, nowMs } = request;
  const serial = randomBytes(16);
  // Positive, and in its shortest form.
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  const algorithm = der(TAG.sequence, ECDSA_SHA256);
  const body = der(
    TAG.sequence,
    der(0xa0, der(TAG.integer, Buffer.from([2]))),
    der(TAG.integer, serial),
    algorithm,
    nameOf(request.issuer),
    der(TAG.sequence, timeOf(nowMs - YEAR_MS), timeOf(nowMs + 10 * YEAR_MS)),
    nameOf(request.subject),
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, der(TAG.sequence, ...request.extensions)),
  );
  const signature = sign('sha256', body, signer);
  return der(TAG.sequence, body, algorithm, der(TAG.bits, Buffer.from([0]), signature));
}

const keyPair = (): { publicKey: KeyObject; privateKey: KeyObject } =>
  generateKeyPairSync('ec', { namedCurve: 'prime256v1' });

/**
 * Makes an authority and a host certificate for `localhost` and the given IPv4 address.
 * Node can read certificates but not make them; these few lines of DER spare a dependency and the openssl program.
 */
export function makeHostCertificates(ip: string, nowMs: number): HostCertificates {
  const authority = keyPair();
  const host = keyPair();
  const issuer = 'Flotilla simulator CA';
  const certSign = Buffer.from('03020106', 'hex');
  const ca = issue({
    subject: issuer,
    issuer,
    publicKey: createPublicKey(authority.privateKey),
    signer: authority.privateKey,
    nowMs,
    extensions: [
      extension(OID_BASIC_CONSTRAINTS, der(TAG.sequence, der(TAG.boolean, Buffer.from([0xff]))), true),
      extension(OID_KEY_USAGE, certSign, true),
    ],
  });
  const names = der(
    TAG.sequence,
    der(0x82, Buffer.from('localhost')),
    der(0x87, Buffer.from(ip.split('.').map(Number))),
  );
  const leaf = issue({
    subject: 'localhost',
    issuer,
    publicKey: host.publicKey,
    signer: authority.privateKey,
    nowMs,
    extensions: [extension(OID_SUBJECT_ALT_NAME, names)],
  });
  return {
    caPem: pem('CERTIFICATE', ca),
    host: {
      certPem: pem('CERTIFICATE', leaf),
      keyPem: host.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    },
  };
}
