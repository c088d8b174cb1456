import { z } from 'zod';
import { type FlotillaError, invalid } from '../kernel/errors.ts';
import { ID_PATTERN, newTaskId } from '../kernel/ids.ts';
import { isMediaName } from '../kernel/media-name.ts';
import { isLonger } from './characters.ts';
import { idSchema, isoTimeSchema, PHONE_PATTERN, phoneSchema } from './common.ts';
import { MAX_MESSAGE_LENGTH } from './messages.ts';
import { ruleInWords } from './rule-words.ts';

export const MAX_TASKS_PER_REQUEST = 10_000;
export const MAX_ENQUEUE_BODY_BYTES = 32 * 1024 * 1024;
/**
 * Of one task as JSON, in UTF-16 units: the longest text that a job may have, each of its characters escaped, and the
 * rest. Less would let a job be accepted whose tasks no outbox takes.
 */
export const MAX_TASK_LENGTH = 524_288;

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
  if (!('tasks' in body)) return { many: false, tasks: [isPlainMessage(body) ? body : parseTask(body, '')] };
  const { tasks } = body;
  if (!Array.isArray(tasks)) throw wrong('tasks', 'must be a list');
  if (tasks.length === 0) throw wrong('tasks', 'must not be empty');
  if (tasks.length > MAX_TASKS_PER_REQUEST) {
    throw wrong('tasks', `must have at most ${MAX_TASKS_PER_REQUEST} entries`);
  }
  return {
    many: true,
    tasks: tasks.map((task, index) => (isPlainMessage(task) ? task : parseTask(task, `tasks[${index}]`))),
  };
}

/**
 * Whether a task is as nearly all are: a message of its four fields, each plainly within the rules, so that it can be
 * taken as it is. Of all others the schema decides, which costs ten times as much: a tenth of a whole cycle in batches.
 */
function isPlainMessage(value: unknown): value is TaskToQueue {
  if (typeof value !== 'object' || value === null) return false;
  const { mode, to, text, taskId } = value as Record<string, unknown>;
  if (mode !== 'message' || typeof to !== 'string' || !PHONE_PATTERN.test(to)) return false;
  if (typeof taskId !== 'string' || !ID_PATTERN.test(taskId)) return false;
  if (typeof text !== 'string' || text.length > SHORT_TEXT) return false;
  if (text.includes('\0') || text.trim() === '') return false;
  let fields = 0;
  for (const _ in value) fields++;
  return fields === 4;
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
  const further = task.mode === 'image' && Object.entries(task).filter(([field]) => !KNOWN.has(field));
  if (further && further.length > 0 && JSON.stringify(further).length > MAX_BESIDE_IMAGE)
    throw wrong(place || 'task', 'carries too much in further fields; an image travels as mediaRef');
  return task;
}

/** Characters of JSON: a task with an image carries its name, never its bytes. */
const MAX_BESIDE_IMAGE = 8192;
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
