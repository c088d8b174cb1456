import { z } from 'zod';
import { type FlotillaError, invalid } from '../kernel/errors.ts';
import { ID_PATTERN } from '../kernel/ids.ts';
import { charactersOf, isLonger } from './characters.ts';
import { isoTimeSchema, phoneSchema } from './common.ts';
import { ruleInWords } from './rule-words.ts';

export const MAX_CONTACTS = 100_000;
/** Characters, also after the names are put in: the most that WhatsApp takes. */
export const MAX_MESSAGE_LENGTH = 65_536;
export const MAX_NAME_LENGTH = 200;
export const MAX_IMAGE_BYTES = 10 * 1024 * 1024;
/** Of the JSON. 100,000 contacts with long names stay below. */
export const MAX_MESSAGE_BODY_BYTES = 32 * 1024 * 1024;
/** A task's id is the job's with a number behind it, and must fit into an id too. */
const MAX_JOB_ID_LENGTH = 100;

const jobIdSchema = z
  .string()
  .max(MAX_JOB_ID_LENGTH, `must have at most ${MAX_JOB_ID_LENGTH} characters`)
  .regex(
    ID_PATTERN,
    'must be of letters, digits and . _ : @ -, starting with a letter or digit, and not be empty',
  );

const fields = {
  message: z
    .string('must be text')
    .refine(
      (text) => !isLonger(text, MAX_MESSAGE_LENGTH),
      `must have at most ${MAX_MESSAGE_LENGTH} characters`,
    )
    .meta({ maxLength: MAX_MESSAGE_LENGTH })
    .refine((text) => text.trim() !== '', 'must not be empty')
    .refine((text) => !text.includes('\0'), 'must not contain NUL characters')
    .nullish()
    .describe('Text to send; `{{name}}` becomes the name of the contact. Exactly one of message and image.'),
  sessionId: z.string('must be text').regex(ID_PATTERN, 'is not a session id').nullish(),
  tenant: z
    .string('must be text')
    .min(1, 'must not be empty')
    .max(128, 'must have at most 128 characters')
    .nullish(),
  jobId: jobIdSchema.nullish().describe('Makes the request repeatable, as the header Idempotency-Key does.'),
  notBefore: isoTimeSchema.nullish().describe('Nothing is handed to a session before.'),
  expiresAt: isoTimeSchema.nullish().describe('What has not been sent by then fails as `expired`.'),
};

/** The shape for the document; `parseMessageRequest` checks by hand what comes a hundred thousand times. */
export const messageRequestSchema = z.object({
  contacts: z
    .array(z.object({ name: z.string().min(1).max(MAX_NAME_LENGTH), phone: phoneSchema }))
    .min(1)
    .max(MAX_CONTACTS)
    .describe('A phone that is there twice gets the message twice.'),
  ...fields,
});

export const messageMultipartSchema = z.object({
  data: z.string().describe('The same object as JSON text.'),
  image: z.string().optional().meta({ format: 'binary', description: 'JPEG, PNG or WebP; 10 MB at most.' }),
});

const restSchema = z.object(fields);

/** [phone, name] */
export type Contact = readonly [phone: string, name: string];

export interface MessageRequest {
  contacts: Contact[];
  message: string | null;
  sessionId: string | null;
  tenant: string | null;
  jobId: string | null;
  notBeforeMs: number | null;
  expiresAtMs: number | null;
}

/**
 * Checks a request as it came off the wire. Unknown keys are ignored.
 * @throws FlotillaError `invalid_request` or `too_many_contacts`; the reason names the field
 */
export function parseMessageRequest(value: unknown): MessageRequest {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('invalid_request', 'The request must be a JSON object.');
  }
  const rest = restSchema.safeParse(value, { error: ruleInWords });
  if (!rest.success) {
    const issue = rest.error.issues[0];
    throw wrong(String(issue?.path[0] ?? 'body'), issue?.message ?? 'is not valid');
  }
  const { message, sessionId, tenant, jobId, notBefore, expiresAt } = rest.data;
  const contacts = parseContacts((value as { contacts?: unknown }).contacts);
  if (message) checkRenderedLength(message, contacts);
  return {
    contacts,
    message: message ?? null,
    sessionId: sessionId ?? null,
    tenant: tenant ?? null,
    jobId: jobId ?? null,
    notBeforeMs: notBefore ? Date.parse(notBefore) : null,
    expiresAtMs: expiresAt ? Date.parse(expiresAt) : null,
  };
}

const wrong = (field: string, rule: string): FlotillaError =>
  invalid('invalid_request', `${field} ${rule}`, { details: { field } });

const PHONE = /^[0-9]{8,15}$/;

/** By hand: a schema takes 100 ms for 100,000 contacts. */
function parseContacts(value: unknown): Contact[] {
  if (value === undefined || value === null) throw wrong('contacts', 'is missing');
  if (!Array.isArray(value)) throw wrong('contacts', 'must be a list of {name, phone}');
  if (value.length === 0) throw wrong('contacts', 'must not be empty');
  if (value.length > MAX_CONTACTS) {
    throw invalid('too_many_contacts', `contacts must have at most ${MAX_CONTACTS} entries`, {
      details: { field: 'contacts' },
    });
  }
  return value.map((entry, index) => parseContact(entry, `contacts[${index}]`));
}

function parseContact(entry: unknown, place: string): Contact {
  if (typeof entry !== 'object' || entry === null)
    throw wrong(place, 'must be an object with name and phone');
  const { phone, name } = entry as { phone?: unknown; name?: unknown };
  if (typeof phone !== 'string' || !PHONE.test(phone))
    throw wrong(`${place}.phone`, 'must be 8 to 15 digits');
  if (typeof name !== 'string' || name.trim() === '') {
    throw wrong(`${place}.name`, 'must be text that is not empty');
  }
  if (isLonger(name, MAX_NAME_LENGTH)) {
    throw wrong(`${place}.name`, `must have at most ${MAX_NAME_LENGTH} characters`);
  }
  if (name.includes('\0')) throw wrong(`${place}.name`, 'must not contain NUL characters');
  return [phone, name];
}

/** Names can blow a message up: thousands of placeholders times two hundred characters. */
function checkRenderedLength(message: string, contacts: readonly Contact[]): void {
  const placeholder = '{{name}}';
  const places = message.split(placeholder).length - 1;
  if (places === 0) return;
  const room = Math.floor((MAX_MESSAGE_LENGTH - charactersOf(message)) / places) + placeholder.length;
  const tooLong = contacts.findIndex(([, name]) => isLonger(name, room));
  if (tooLong === -1) return;
  throw wrong(`contacts[${tooLong}].name`, `makes the message longer than ${MAX_MESSAGE_LENGTH} characters`);
}

/** Header values are free text; they only have to be sane. */
export function parseIdempotencyKey(header: string | undefined): string | null {
  if (header === undefined) return null;
  if (header.length === 0 || header.length > 255 || !/^[\x21-\x7e]+$/.test(header)) {
    throw wrong('Idempotency-Key', 'must be 1 to 255 visible ASCII characters without spaces');
  }
  return header;
}

export const acceptedSchema = z.object({
  status: z.literal('ok'),
  received: z.number().int(),
  hasImage: z.boolean(),
  jobId: z.string(),
});

export const jobStateSchema = z.enum(['accepted', 'waiting', 'running', 'paused', 'done', 'cancelled']);

export const jobSchema = z.object({
  id: z.string(),
  state: jobStateSchema,
  received: z.number().int(),
  totals: z
    .object({
      queued: z.number().int().describe('Without an end yet.'),
      sent: z.number().int(),
      delivered: z.number().int(),
      read: z.number().int(),
      failed: z.number().int(),
      cancelled: z.number().int(),
    })
    .describe('Each message counts in exactly one; together they are `received`.'),
  percent: z.number(),
  ratePerMinute: z.number().describe('Messages sent in the last minute.'),
  etaSeconds: z.number().nullable(),
  waitingFor: z.string().nullable().describe('Why it does not go on, in words.'),
  hasImage: z.boolean(),
  sessionId: z.string().nullable(),
  tenant: z.string().nullable(),
  notBefore: z.string().nullable(),
  expiresAt: z.string().nullable(),
  createdAt: z.string(),
  finishedAt: z.string().nullable(),
});
export type JobView = z.infer<typeof jobSchema>;
