import { z } from 'zod';
import { ID_PATTERN } from '../kernel/ids.ts';

/** A path or body id: session, job or task. */
export const idSchema = z
  .string()
  .regex(
    ID_PATTERN,
    'must be 1 to 128 characters of letters, digits and . _ : @ -, starting with a letter or digit',
  );

/** A phone number in international form without `+`. */
export const PHONE_PATTERN = /^\d{8,15}$/;
export const phoneSchema = z.string().regex(PHONE_PATTERN, 'must be 8 to 15 digits');

/** A point in time; becomes milliseconds since the Unix epoch. */
export const isoTimeSchema = z.iso.datetime({
  offset: true,
  error: 'must be an ISO 8601 time such as 2030-01-31T12:00:00Z',
});

/** The queue of a session named `processing:x` would be the processing list of the session `x`. */
const isFree = (id: string): boolean => !id.startsWith('processing:');
const sessionIdSchema = idSchema.refine(isFree, 'must not start with "processing:"');

/** Whether the schema of a session's path lets an id pass, told for a tenth of what that costs. */
export const isSessionId = (id: string): boolean => ID_PATTERN.test(id) && isFree(id);

export const sessionPath = z.object({ id: sessionIdSchema });

export const errorBody = z.object({
  status: z.literal('error'),
  code: z.string().describe('Stable, in snake_case.'),
  reason: z.string().describe('One sentence for a person.'),
  requestId: z.string(),
});
export type ErrorBody = z.infer<typeof errorBody>;

/** What an earlier page gave as `nextCursor`. An empty one is none: clients put theirs in before they have one. */
export const cursorSchema = (form: RegExp) =>
  z
    .string()
    .max(256)
    .refine((text) => text === '' || form.test(text), 'is not one that this list gave out')
    .transform((text) => (text === '' ? undefined : text))
    .optional();

const LIMIT_RULE = 'must be a whole number from 1 to 1000';

/** `limit` and `cursor` of every paged list. */
export const pageQuery = z.object({
  limit: z.coerce.number(LIMIT_RULE).int(LIMIT_RULE).min(1, LIMIT_RULE).max(1000, LIMIT_RULE).default(100),
  cursor: cursorSchema(/./),
});
