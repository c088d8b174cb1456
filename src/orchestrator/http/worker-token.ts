import { createHmac } from 'node:crypto';
import { ID_PATTERN } from '../../kernel/ids.ts';
import { secretsEqual } from '../../kernel/secrets.ts';

const VERSION = 'v1';

/** What a token is signed with: a key of its own, so that no token is a MAC under the shared secret itself. */
const signingKey = (secret: string): Buffer =>
  createHmac('sha256', secret).update('flotilla worker token').digest();

const signature = (secret: string, sessionId: string, epoch: number): string =>
  createHmac('sha256', signingKey(secret)).update(`${VERSION}\n${sessionId}\n${epoch}`).digest('base64url');

/** `v1~<sessionId>~<epoch>~<signature>`: valid for one session and one epoch, checked without a look-up. */
export function issueWorkerToken(secret: string, sessionId: string, epoch: number): string {
  return [VERSION, sessionId, epoch, signature(secret, sessionId, epoch)].join('~');
}

/** @returns whose token it is, or null if it is not genuine */
export function verifyWorkerToken(
  secret: string,
  token: string,
): { sessionId: string; epoch: number } | null {
  const [version, sessionId, epochText, mac, ...rest] = token.split('~');
  if (version !== VERSION || !sessionId || !epochText || !mac || rest.length > 0) return null;
  if (!ID_PATTERN.test(sessionId) || !/^[1-9]\d{0,15}$/.test(epochText)) return null;
  const epoch = Number(epochText);
  return secretsEqual(mac, signature(secret, sessionId, epoch)) ? { sessionId, epoch } : null;
}
