import { z } from 'zod';
import { idSchema } from './common.ts';

/** Workers write times as ISO 8601, with any offset, or as milliseconds since the Unix epoch. */
const timeSchema = z.union(
  [z.iso.datetime({ offset: true }), z.number().int().nonnegative()],
  'must be an ISO 8601 time, or milliseconds since the Unix epoch',
);

const base = { sessionId: idSchema, timestamp: timeSchema.nullish() };

const reason = z.string().max(500);

export const workerEventBody = z.discriminatedUnion(
  'type',
  [
    z.object({
      ...base,
      type: z.literal('QR_UPDATE'),
      data: z.object({ qrCode: z.string().min(1).max(4096), expiresAt: timeSchema.nullish() }),
    }),
    z.object({
      ...base,
      type: z.literal('CONNECTED'),
      data: z.object({
        phoneNumber: z
          .string()
          .transform((text) => text.replaceAll(/\D/g, ''))
          .refine((digits) => /^\d{5,20}$/.test(digits), 'must hold the digits of a phone number'),
        jid: z.string().max(256).nullish(),
      }),
    }),
    z.object({
      ...base,
      type: z.literal('STATUS_CHANGE'),
      data: z.object({
        status: z.enum(['RECONNECTING', 'LOGGED_OUT', 'SHUTTING_DOWN']),
        reason: reason.nullish(),
      }),
    }),
    z.object({
      ...base,
      type: z.literal('PING'),
      data: z.looseObject({ status: z.literal('ALIVE') }),
    }),
    z.object({
      ...base,
      type: z.literal('RECEIPT'),
      data: z.object({
        taskId: idSchema.nullish(),
        whatsappId: z.string().max(128).nullish(),
        status: z.enum(['delivered', 'read']),
        at: timeSchema.nullish(),
      }),
    }),
    z.object({
      ...base,
      type: z.literal('MESSAGE'),
      data: z.looseObject({ id: z.string().max(256).nullish() }),
    }),
  ],
  'must be one of QR_UPDATE, CONNECTED, STATUS_CHANGE, PING, RECEIPT, MESSAGE',
);
export type WorkerEventBody = z.infer<typeof workerEventBody>;

export const workerCommandSchema = z.object({
  id: z.string(),
  type: z.enum(['pairing_code', 'logout']),
  phone: z.string().optional(),
});

export const workerEventAnswer = z.object({
  status: z.literal('ok'),
  owner: z.literal(true).optional().describe('Of a PING: the session is still this worker’s.'),
  commands: z.array(workerCommandSchema).optional().describe('Of a PING: what is asked of the worker.'),
});

export const commandPath = z.object({ id: idSchema, commandId: idSchema });
export const commandResultBody = z.object({
  ok: z.boolean(),
  code: z.string().max(32).optional(),
  reason: reason.optional(),
});

/** Bytes of JSON that an event may have. */
export const WORKER_EVENT_BODY_LIMIT = 256 * 1024;
