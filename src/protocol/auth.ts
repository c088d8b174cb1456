import { z } from 'zod';

const nameSchema = z.string().min(1, 'must not be empty').max(256);

export const putAuthBody = z.object({
  sequence: z.number().int().positive().describe('One more than the last write.'),
  set: z
    .object({
      creds: z.unknown().optional(),
      keys: z.record(nameSchema, z.record(nameSchema, z.unknown())).optional(),
    })
    .describe('Values are opaque JSON; null deletes.'),
});

export const putAuthAnswer = z.object({
  status: z.literal('ok'),
  sequence: z.number(),
  applied: z.boolean().describe('false: this write had been applied before.'),
});

export const getAuthAnswer = z.object({
  status: z.literal('ok'),
  sequence: z.number(),
  entries: z.object({
    creds: z.unknown().optional(),
    keys: z.record(z.string(), z.record(z.string(), z.unknown())),
  }),
});

/** Bytes of JSON that one write may have. The 812 pre-keys of a first login are a tenth of a megabyte. */
export const AUTH_BODY_LIMIT = 8 * 1024 * 1024;
