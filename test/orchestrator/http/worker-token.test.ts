import { expect, test } from 'vitest';
import { issueWorkerToken, verifyWorkerToken } from '../../../src/orchestrator/http/worker-token.ts';

const SECRET = 'a secret';
const token = issueWorkerToken(SECRET, 'a.b:c@d-e_f', 1_900_000_000_000);

test('names its session and its epoch', () => {
  expect(verifyWorkerToken(SECRET, token)).toEqual({ sessionId: 'a.b:c@d-e_f', epoch: 1_900_000_000_000 });
});

test.each([
  ['another secret', 'other', token],
  ['another session', SECRET, token.replace('a.b', 'a.c')],
  ['another epoch', SECRET, token.replace('1900000000000', '1900000000001')],
  ['the epoch in another notation', SECRET, token.replace('1900000000000', '01900000000000')],
  ['another version', SECRET, token.replace('v1', 'v2')],
  ['no signature', SECRET, token.slice(0, token.lastIndexOf('~') + 1)],
  ['something behind it', SECRET, `${token}~x`],
  ['the bare secret', SECRET, SECRET],
  ['nothing', SECRET, ''],
])('is refused with %s', (_, secret, text) => {
  expect(verifyWorkerToken(secret, text)).toBe(null);
});
