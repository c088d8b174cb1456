import { z } from 'zod';

export const TASK_STATES = [
  'accepted',
  'queued',
  'claimed',
  'sent',
  'delivered',
  'read',
  'failed',
  'cancelled',
] as const;

export const taskSchema = z.object({
  id: z.string(),
  jobId: z.string().nullable(),
  sessionId: z.string().nullable().describe('Who sends it; null while nobody is chosen.'),
  to: z
    .string()
    .nullable()
    .describe('Null if its job was cancelled before its turn: such contacts are not kept.'),
  state: z.string(),
  reason: z.string().nullable().describe('Why it failed, or will be tried again.'),
  attempts: z.number().int(),
  whatsappId: z.string().nullable(),
  createdAt: z.string(),
  queuedAt: z.string().nullable(),
  claimedAt: z.string().nullable(),
  sentAt: z.string().nullable(),
  deliveredAt: z.string().nullable(),
  readAt: z.string().nullable(),
  endedAt: z.string().nullable(),
});
export type TaskView = z.infer<typeof taskSchema>;

export const taskStorySchema = taskSchema.extend({
  mode: z.string().nullable(),
  story: z
    .array(z.object({ state: z.string(), at: z.string() }))
    .describe('Every state that it went through, with its time.'),
  waitingFor: z.string().nullable().describe('Why it has not gone out yet, in words.'),
});
export type TaskStory = z.infer<typeof taskStorySchema>;
