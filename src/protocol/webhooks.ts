import { z } from 'zod';
import { cursorSchema, idSchema } from './common.ts';
import { webhookUrlSchema } from './sessions.ts';

export const setWebhookBody = z.object({
  url: webhookUrlSchema.nullable().describe('null takes the webhook away, and with it what waits.'),
});

export const webhookAnswer = z.object({
  status: z.literal('ok'),
  webhook: z.object({
    url: z.string().nullable(),
    signed: z.boolean().describe('Whether WEBHOOK_SIGNING_SECRET is set.'),
    waiting: z.number().int(),
    dead: z.number().int().describe('Given up, and kept for a replay.'),
    oldestAt: z.string().nullable().describe('Since when the first one waits.'),
    attempts: z.number().int().describe('Of the first one so far.'),
    lastError: z.string().nullable().describe('Why its last attempt failed.'),
    nextAttemptAt: z.string().nullable().describe('After a failure.'),
  }),
});

const LIMIT_RULE = 'must be a whole number from 1 to 200';

export const webhookDeadQuery = z.object({
  limit: z.coerce.number(LIMIT_RULE).int(LIMIT_RULE).min(1, LIMIT_RULE).max(200, LIMIT_RULE).default(50),
  cursor: cursorSchema(/^\d{1,15}$/),
});

export const webhookDeadAnswer = z.object({
  status: z.literal('ok'),
  events: z.array(
    z.object({
      id: z.string().describe('As in the header webhook-id.'),
      event: z.object({
        instance: idSchema,
        timestamp: z.string(),
        type: z.string(),
        data: z.record(z.string(), z.unknown()),
      }),
      reason: z.string(),
      attempts: z.number().int(),
      deadAt: z.string(),
    }),
  ),
  nextCursor: z.string().nullable(),
});

export const webhookReplayedAnswer = z.object({ status: z.literal('ok'), replayed: z.number().int() });
