import { z } from 'zod';
import { flag, variable, wholeOr } from './config-kinds.ts';

/** 24 to 64 bytes. */
export type SigningKey = Buffer;

const SIGNING_RULE =
  'must be whsec_ and 24 to 64 bytes as base64, such as "whsec_$(openssl rand -base64 32)"; several with blanks between them';

const signingKeys = z
  .string()
  .default('')
  .transform((text, context): SigningKey[] => {
    const keys = text.split(/\s+/).filter(Boolean).map(toKey);
    if (keys.every((key) => key !== null)) return keys;
    context.addIssue({ code: 'custom', message: SIGNING_RULE });
    return z.NEVER;
  }) as unknown as z.ZodType<SigningKey[]>;

function toKey(text: string): SigningKey | null {
  const match = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text);
  const key = Buffer.from(match?.[1] ?? '', 'base64');
  return key.length >= 24 && key.length <= 64 ? key : null;
}

export function isAmong(keys: readonly SigningKey[], secret: string | null): boolean {
  const key = toKey(secret ?? '');
  return key !== null && keys.some((one) => one.equals(key));
}

/** What is set about the webhooks of sessions. */
export const webhookVariables = {
  WEBHOOK_SIGNING_SECRET: variable(
    'WEBHOOK_SIGNING_SECRET',
    `Signs what the webhooks of sessions deliver, as Standard Webhooks has it: ${SIGNING_RULE.slice('must be '.length)} sign with each, for the time of a change. Without it webhooks go out unsigned. Receivers know it, so it must not be WEBHOOK_SECRET.`,
    signingKeys,
    undefined,
    true,
  ),
  WEBHOOK_ALLOW_PRIVATE: variable(
    'WEBHOOK_ALLOW_PRIVATE',
    'Whether webhooks of sessions may lead to private, loopback and link-local addresses.',
    flag(false),
    'false',
  ),
  WEBHOOK_TIMEOUT_MS: variable(
    'WEBHOOK_TIMEOUT_MS',
    'How long a receiver may take to answer.',
    wholeOr(10_000, 100, 60_000),
    '10000',
  ),
  WEBHOOK_RETRY_FOR_MS: variable(
    'WEBHOOK_RETRY_FOR_MS',
    'For how long an event is tried again, with growing waits of up to five minutes; then it is given up, and kept for a replay.',
    wholeOr(86_400_000, 0, 2_592_000_000),
    '86400000',
  ),
  WEBHOOK_BACKLOG: variable(
    'WEBHOOK_BACKLOG',
    'How many events of a session may wait for its receiver. The oldest above it are given up; of those no more are kept either.',
    wholeOr(10_000, 1, 1_000_000),
    '10000',
  ),
  WEBHOOKS_AT_ONCE: variable(
    'WEBHOOKS_AT_ONCE',
    'How many requests to receivers are under way at the same time.',
    wholeOr(64, 1, 1000),
    '64',
  ),
  WEBHOOKS_AT_ONCE_PER_HOST: variable(
    'WEBHOOKS_AT_ONCE_PER_HOST',
    'How many of them to one host.',
    wholeOr(8, 1, 1000),
    '8',
  ),
};
