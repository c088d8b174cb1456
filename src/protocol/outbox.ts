import { z } from 'zod';
import { type FlotillaError, invalid } from '../kernel/errors.ts';
import { newTaskId } from '../kernel/ids.ts';
import { isMediaName } from '../kernel/media-name.ts';
import { isLonger } from './characters.ts';
import { cursorSchema, idSchema, isoTimeSchema, pageQuery, phoneSchema } from './common.ts';
import { MAX_MESSAGE_LENGTH } from './messages.ts';
import { ruleInWords } from './rule-words.ts';

export const MAX_TASKS_PER_REQUEST = 10_000;
export const MAX_ENQUEUE_BODY_BYTES = 32 * 1024 * 1024;
/**
 * Of one task as JSON, in UTF-16 units: the longest text that a job may have, each of its characters escaped, and the
 * rest. Less would let a job be accepted whose tasks no outbox takes.
 */
export const MAX_TASK_LENGTH = 524_288;
/** Somebody else's program may have pushed a task that is larger than ours may be; it must be possible to end it. */
export const MAX_RAW_LENGTH = 4 * 1024 * 1024;
export const MAX_RAWS = 1000;
export const MAX_CLAIM = 100;
export const MAX_ACK_BODY_BYTES = 16 * 1024 * 1024;
export const MAX_DELAY_MS = 7 * 24 * 3_600_000;

// ---- enqueue ---------------------------------------------------------------------------------------------------

const common = {
  to: phoneSchema,
  taskId: idSchema.nullish().describe('Made if it is missing. Each id is queued once per session.'),
  jobId: idSchema.nullish(),
  tenant: z.string().min(1, 'must not be empty').max(128, 'must have at most 128 characters').nullish(),
  expiresAt: isoTimeSchema.nullish().describe('Not handed out after this; fails as `expired` instead.'),
};

const messageTask = z.looseObject({
  mode: z.literal('message'),
  text: z
    .string('must be text')
    .refine(
      (text) => !isLonger(text, MAX_MESSAGE_LENGTH),
      `must have at most ${MAX_MESSAGE_LENGTH} characters`,
    )
    .meta({ maxLength: MAX_MESSAGE_LENGTH })
    .refine((text) => text.trim() !== '', 'must not be empty')
    .refine((text) => !text.includes('\0'), 'must not contain NUL characters'),
  ...common,
});

const imageTask = z.looseObject({
  mode: z.literal('image'),
  mediaRef: z
    .string('must be text')
    .refine(isMediaName, 'must be a plain file name')
    .nullish()
    .describe('A name inside the media directory, never a path.'),
  mediaPath: z
    .string('must be text')
    .max(4096)
    .nullish()
    .describe('Never opened; its last part stands in for a missing mediaRef.'),
  ...common,
});

const taskSchema = z.discriminatedUnion('mode', [messageTask, imageTask], {
  error: 'must be an object with mode "message" or "image"',
});

export const enqueueSchema = z.union([
  taskSchema,
  z.object({ tasks: z.array(taskSchema).min(1).max(MAX_TASKS_PER_REQUEST) }),
]);

/** What is queued: without what was null, with an id. Fields that nobody knows here travel along. */
export interface TaskToQueue {
  taskId: string;
  mode: 'message' | 'image';
  to: string;
  text?: string;
  mediaRef?: string;
  jobId?: string;
  tenant?: string;
  expiresAt?: string;
  [extra: string]: unknown;
}

/**
 * Checks a request to enqueue: one task, or many under `tasks`. One that is wrong refuses all.
 * @throws FlotillaError `invalid_request`; the reason names the field, and the place within `tasks`
 */
export function parseEnqueue(body: Record<string, unknown>): { many: boolean; tasks: TaskToQueue[] } {
  if (!('tasks' in body)) return { many: false, tasks: [parseTask(body, '')] };
  const { tasks } = body;
  if (!Array.isArray(tasks)) throw wrong('tasks', 'must be a list');
  if (tasks.length === 0) throw wrong('tasks', 'must not be empty');
  if (tasks.length > MAX_TASKS_PER_REQUEST) {
    throw wrong('tasks', `must have at most ${MAX_TASKS_PER_REQUEST} entries`);
  }
  return { many: true, tasks: tasks.map((task, index) => parseTask(task, `tasks[${index}]`)) };
}

function parseTask(value: unknown, place: string): TaskToQueue {
  const result = taskSchema.safeParse(value, { error: ruleInWords });
  if (!result.success) {
    const issue = result.error.issues[0];
    const field = [place, ...(issue?.path.map(String) ?? [])].filter((part) => part !== '').join('.');
    throw wrong(field || 'body', issue?.message ?? 'is not valid');
  }
  const { mediaPath, ...fields } = result.data;
  const task = { ...fields, taskId: fields.taskId ?? newTaskId() } as TaskToQueue;
  for (const key in task) if (task[key] === null || task[key] === undefined) delete task[key];
  if (task.expiresAt !== undefined) task.expiresAt = new Date(task.expiresAt).toISOString();
  if (task.mode === 'image' && task.mediaRef === undefined) {
    const name = typeof mediaPath === 'string' ? (mediaPath.split(/[/\\]/).at(-1) ?? '') : '';
    if (!isMediaName(name)) {
      throw wrong(place ? `${place}.mediaRef` : 'mediaRef', 'is missing; it must be a plain file name');
    }
    task.mediaRef = name;
  }
  if (!isShort(task) && JSON.stringify(task).length > MAX_TASK_LENGTH) {
    throw wrong(place || 'task', `must have at most ${MAX_TASK_LENGTH} characters as JSON`);
  }
  return task;
}

const KNOWN = new Set(['taskId', 'mode', 'to', 'text', 'mediaRef', 'jobId', 'tenant', 'expiresAt']);
/** With the other fields that are known, and however much of it has to be escaped (six for one), below the most. */
const SHORT_TEXT = 65_536;

/** Whether a task need not be written to know that it is not too long. */
function isShort(task: TaskToQueue): boolean {
  for (const key in task) if (!KNOWN.has(key)) return false;
  return (task.text?.length ?? 0) <= SHORT_TEXT;
}

const wrong = (field: string, rule: string): FlotillaError =>
  invalid('invalid_request', `${field}: ${rule}`, { details: { field } });

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

const whatsappId = z.string().regex(/^[\w.:@-]{1,128}$/, 'must be a message id of WhatsApp');

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
