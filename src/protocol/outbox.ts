import { z } from 'zod';
import { cursorSchema, idSchema, pageQuery } from './common.ts';
import { MAX_TASKS_PER_REQUEST } from './enqueue.ts';

/** Somebody else's program may have pushed a task that is larger than ours may be; it must be possible to end it. */
export const MAX_RAW_LENGTH = 4 * 1024 * 1024;
export const MAX_RAWS = 1000;
export const MAX_CLAIM = 100;
export const MAX_ACK_BODY_BYTES = 16 * 1024 * 1024;
export const MAX_DELAY_MS = 7 * 24 * 3_600_000;

const ok = { status: z.literal('ok') };

export const enqueuedSchema = z.object({
  ...ok,
  taskId: z.string().optional().describe('Of a single task.'),
  queued: z.number().int().describe('Length of the queue afterwards.'),
  duplicate: z.literal(true).optional().describe('The id was known already; nothing was queued.'),
  tasks: z
    .array(z.object({ taskId: z.string(), duplicate: z.boolean() }))
    .optional()
    .describe('Of many tasks, in order.'),
});

// ---- looking after an outbox -----------------------------------------------------------------------------------

export const outboxStatusSchema = z.object({
  ...ok,
  queued: z.number().int(),
  processing: z.number().int(),
  delayed: z.number().int().describe('1 while the head of the line waits for its time.'),
  delayedForMs: z.number(),
  dead: z.number().int(),
  oldestAgeMs: z.number().nullable().describe('Since the oldest task was accepted.'),
});

export const deadQuery = pageQuery.extend({ cursor: cursorSchema(/^\d{1,9}$/) });

export const deadSchema = z.object({
  ...ok,
  tasks: z.array(
    z.object({
      taskId: z.string().nullable(),
      task: z.unknown(),
      raw: z.string(),
      reason: z.string(),
      at: z.string(),
      attempts: z.number().int(),
    }),
  ),
  nextCursor: z.string().nullable(),
});

export const replaySchema = z
  .object({ taskIds: z.array(idSchema).min(1).max(MAX_TASKS_PER_REQUEST).optional() })
  .describe('Without task ids, everything.');

export const replayedSchema = z.object({ ...ok, replayed: z.number().int() });
export const clearedSchema = z.object({ ...ok, cleared: z.number().int() });

// ---- worker side -----------------------------------------------------------------------------------------------

const whole = (most: number, rule: string) =>
  z
    .string(rule)
    .regex(/^\d{1,6}$/, rule)
    .transform(Number)
    .refine((value) => value <= most, rule);

export const claimQuery = z.object({
  timeout: whole(55, 'must be a whole number of seconds from 0 to 55')
    .default(20)
    .describe('How long to wait for a task, in seconds.')
    .meta({ override: { type: 'integer', minimum: 0, maximum: 55, default: 20 } }),
  max: whole(MAX_CLAIM, `must be a whole number from 1 to ${MAX_CLAIM}`)
    .refine((value) => value >= 1, `must be a whole number from 1 to ${MAX_CLAIM}`)
    .optional()
    .describe('Claims up to so many at once, as one batch under one lease.'),
});

/** Sent as `X-Claim-Request`. */
export const claimRequestIdSchema = z
  .string()
  .regex(/^[\w.:@~-]{1,128}$/, 'must be 1 to 128 letters, digits or . _ : @ ~ -');

const claimed = {
  task: z.unknown().describe('The task; text that is not JSON comes as a string. Null: nothing in time.'),
  raw: z.string().optional().describe('Names the task in ack, nack and touch, byte for byte.'),
  claimId: z.string().optional(),
  attempt: z.number().int().optional().describe('Deliveries including this one.'),
  leaseUntil: z.string().optional(),
  leaseMs: z.number().optional().describe('How long the lease is in force from now.'),
};

export const claimedSchema = z.object({
  ...ok,
  ...claimed,
  tasks: z.array(z.object(claimed)).optional().describe('With `max`.'),
});

const rawSchema = z
  .string('must be the raw string of a claim')
  .min(1, 'must not be empty')
  .max(MAX_RAW_LENGTH, `must have at most ${MAX_RAW_LENGTH} characters`);

const rawOrRaws = {
  raw: rawSchema.optional(),
  raws: z
    .array(rawSchema)
    .min(1, 'must not be empty')
    .max(MAX_RAWS, `must have at most ${MAX_RAWS}`)
    .optional(),
};

const exactlyOne = ({ raw, raws }: { raw?: string | undefined; raws?: string[] | undefined }) =>
  (raw === undefined) !== (raws === undefined);
const oneOf = { error: 'exactly one of raw and raws must be given', path: ['raw'] };

const WHATSAPP_ID = /^[\w.:@-]{1,128}$/;
const whatsappId = z.string().regex(WHATSAPP_ID, 'must be a message id of WhatsApp');

export const ackSchema = z
  .object({
    ...rawOrRaws,
    whatsappId: whatsappId
      .nullish()
      .describe('Under which the message was sent, if it is not the derived one.'),
  })
  .refine(exactlyOne, oneOf);
export const ackedSchema = z.object({ ...ok, acked: z.literal(true) });

export const nextSchema = z
  .object({ ...rawOrRaws, whatsappId: whatsappId.nullish() })
  .refine(({ raw, raws }) => raw === undefined || raws === undefined, {
    error: 'at most one of raw and raws may be given',
    path: ['raw'],
  })
  .describe('What is acknowledged; nothing: a claim alone.');
const isPlainRaw = (raw: unknown): boolean =>
  typeof raw === 'string' && raw !== '' && raw.length <= MAX_RAW_LENGTH;

/** Whether `ackSchema` and `nextSchema` let this pass as it is, told for a tenth of what they cost; they tell the rest. */
export function isPlainAck(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return false;
  for (const field in body) if (!ACK_FIELDS.has(field)) return false;
  const { raw, raws, whatsappId: id } = body as Record<string, unknown>;
  if (id !== undefined && (typeof id !== 'string' || !WHATSAPP_ID.test(id))) return false;
  if (raws === undefined) return isPlainRaw(raw);
  return (
    raw === undefined &&
    Array.isArray(raws) &&
    raws.length > 0 &&
    raws.length <= MAX_RAWS &&
    raws.every(isPlainRaw)
  );
}
const ACK_FIELDS = new Set(['raw', 'raws', 'whatsappId']);

export const nextAnswerSchema = claimedSchema.extend({ acked: z.literal(true).optional() });

const claimId = z.string().max(256, 'is too long').nullish();

export const nackSchema = z.object({
  raw: rawSchema,
  claimId: claimId.describe('Refuses the nack if the task has been handed out again since.'),
  delayMs: z
    .number('must be a number of milliseconds')
    .int('must be a whole number')
    .min(0, 'must not be negative')
    .max(MAX_DELAY_MS, `must be at most ${MAX_DELAY_MS}`)
    .nullish()
    .describe('The session serves nothing until then.'),
  permanent: z.boolean('must be true or false').nullish().describe('It cannot be sent at all.'),
  reason: z
    .string('must be text')
    .nullish()
    .transform((reason) => (reason ?? '').replaceAll('\0', '').slice(0, 500)),
  countAttempt: z
    .boolean('must be true or false')
    .nullish()
    .describe("False: the session's own trouble, which burns no attempt."),
});
export const nackedSchema = z.object({
  ...ok,
  requeued: z.boolean().describe('False: it was not held any more, or is dead.'),
  dead: z.boolean(),
});

export const touchSchema = z.object({ ...rawOrRaws, claimId }).refine(exactlyOne, oneOf);
export const touchedSchema = z.object({ ...ok, leaseUntil: z.string(), leaseMs: z.number() });
