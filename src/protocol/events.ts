import { z } from 'zod';
import { idSchema } from './common.ts';

/** `type` may name several, with commas between them. */
export const eventsQuery = z.object({
  type: z.string().max(512).optional().describe('One or more exact types, with commas between them.'),
  sessionId: idSchema.optional(),
  lastEventId: z
    .string()
    .regex(/^\d{1,15}$/, 'must be the id of an event')
    .optional()
    .describe('As the header Last-Event-ID, which goes before.'),
});

/** The `data` of each server-sent event. */
export const eventSchema = z.object({
  id: z.number(),
  type: z.string(),
  sessionId: z.string().nullable(),
  jobId: z.string().nullable(),
  data: z.record(z.string(), z.unknown()),
  at: z.string(),
});
