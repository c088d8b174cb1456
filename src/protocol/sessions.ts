import { z } from 'zod';
import { idSchema, pageQuery, phoneSchema } from './common.ts';
import { PROVIDERS } from './providers.ts';

/** The states of `domain/session-state.ts`, as clients see them. */
export const sessionStateSchema = z.enum([
  'pending',
  'starting',
  'pairing',
  'connected',
  'reconnecting',
  'logged_out',
  'stopped',
  'failed',
]);

const cpuSchema = z
  .string()
  .regex(/^\d{1,2}(\.\d{1,3})?$/, 'must be a number of processors from "0.1" to "64"')
  .refine((text) => Number(text) >= 0.1 && Number(text) <= 64, 'must be from "0.1" to "64"');

const memoryMb = (text: string): number => Number(text.slice(0, -1)) * (/g$/i.test(text) ? 1024 : 1);
const memorySchema = z
  .string()
  .regex(/^\d{1,5}(\.\d{1,3})?[mg]$/i, 'must be a size from "64m" to "64g"')
  .refine((text) => memoryMb(text) >= 64 && memoryMb(text) <= 65_536, 'must be from "64m" to "64g"');

const ATTRIBUTE = String.raw`(node\.(id|hostname|role|platform\.(os|arch)|labels\.[\w.-]+)|engine\.labels\.[\w.-]+)`;
const constraintSchema = z
  .string()
  .max(256)
  .regex(
    new RegExp(String.raw`^${ATTRIBUTE}(==|!=)[\w.:/-]+$`),
    'must be a constraint of Docker Swarm, such as "node.labels.region==eu"',
  );

const spreadSchema = z.object({
  group: z
    .string()
    .regex(/^[\w.-]{1,64}$/, 'must have 1 to 64 letters, digits, dots, dashes or underscores')
    .describe('Sessions with the same group, of the whole fleet, are kept apart.'),
  over: z
    .string()
    .max(128)
    .regex(
      new RegExp(`^${ATTRIBUTE}$`),
      'must be an attribute of a node in the words of Docker Swarm, such as "node.labels.zone"',
    )
    .optional()
    .describe('First over the values of this attribute, then over nodes. Only for WORKER_RUNTIME=swarm.'),
});

export const resourcesSchema = z.object({
  cpu: cpuSchema.optional().describe('Processors, "0.1" to "64".'),
  memory: memorySchema.optional().describe('"64m" to "64g".'),
  constraints: z
    .array(constraintSchema)
    .max(16)
    .optional()
    .describe('Nodes that it may run on, such as "node.labels.region==eu". Only for WORKER_RUNTIME=swarm.'),
  spread: spreadSchema
    .optional()
    .describe('A group whose sessions are spread over the nodes, before proxies and room count.'),
});

export const webhookUrlSchema = z
  .string()
  .max(2048)
  .refine(
    (text) => URL.canParse(text) && /^https?:\/\//i.test(text),
    'must be an http:// or https:// address',
  );

export const createSessionBody = z.object({
  phone: phoneSchema,
  tenant: z.string().trim().min(1, 'must not be empty').max(128).nullish(),
  profile: z.string().min(1).max(4096).nullish().describe('The id of an uploaded profile, or its line.'),
  provider: z.enum(PROVIDERS, `must be one of ${PROVIDERS.join(', ')}`).nullish(),
  webhookUrl: webhookUrlSchema.nullish(),
  resources: resourcesSchema.nullish(),
  proxy: z
    .literal(false, 'may only be false: proxies are assigned')
    .nullish()
    .describe('false: no proxy at all; needs ALLOW_DIRECT=true.'),
});

export const sessionSchema = z.object({
  id: idSchema,
  phone: z.string().nullable(),
  state: sessionStateSchema,
  desired: z.enum(['running', 'stopped', 'deleted']).describe('What was asked for.'),
  reason: z.string().nullable().describe('Why it is in this state, in words.'),
  proxy: z.string().nullable().describe('host:port.'),
  tenant: z.string().nullable(),
  profile: z.string().nullable().describe('The id of its profile.'),
  provider: z.string(),
  webhookUrl: z.string().nullable(),
  resources: resourcesSchema.nullable(),
  jid: z.string().nullable(),
  generation: z.number().int().describe('Goes up with each restart that was asked for.'),
  image: z.string().nullable().describe('What its worker was started from; null before the first start.'),
  notBefore: z.string().nullable().describe('After a crash: when it is started again.'),
  createdAt: z.string(),
  updatedAt: z.string(),
  connectedAt: z.string().nullable(),
});

export const sessionAnswer = z.object({ status: z.literal('ok'), session: sessionSchema });

export const listSessionsQuery = pageQuery.extend({
  state: sessionStateSchema.optional(),
  tenant: z.string().max(128).optional(),
});
export const listSessionsAnswer = z.object({
  status: z.literal('ok'),
  sessions: z.array(sessionSchema),
  nextCursor: z.string().nullable(),
});

const flagText = z
  .enum(['true', 'false', '1', '0', ''], 'must be true or false')
  .transform((text) => text !== 'false' && text !== '0');

export const deleteSessionQuery = z.object({ logout: flagText.optional() });
export const deleteSessionAnswer = z.object({ status: z.literal('ok'), deleted: idSchema });
export const restartedAnswer = z.object({ status: z.literal('ok'), restarted: idSchema });

const LINES_RULE = 'must be a whole number from 1 to 2000';

export const logsQuery = z.object({
  lines: z.coerce.number(LINES_RULE).int(LINES_RULE).min(1, LINES_RULE).max(2000, LINES_RULE).default(200),
});
export const logsAnswer = z.object({ status: z.literal('ok'), lines: z.array(z.string()) });

export const qrQuery = z.object({ format: z.enum(['png', 'svg', 'json']).optional() });
export const qrAnswer = z.object({ status: z.literal('ok'), qr: z.string(), expiresAt: z.string() });

export const pairingCodeBody = z.object({ phone: phoneSchema });
export const pairingCodeAnswer = z.object({
  status: z.literal('ok'),
  code: z.string().describe('Such as ABCD-1234.'),
});
