import { z } from 'zod';
import { cursorSchema, pageQuery } from './common.ts';

/** The multipart body of an upload, for the OpenAPI document: the file is streamed, never parsed as a whole. */
export const uploadBody = z.object({
  file: z.string().meta({
    format: 'binary',
    description:
      'A text file in UTF-8, one entry a line. Blank lines and lines that start with # are skipped.',
  }),
});

export const uploadAnswer = z.object({
  status: z.literal('ok'),
  added: z.int().describe('Entries that were not there before.'),
  duplicates: z.int().describe('Entries that were there already, free or used.'),
  rejected: z
    .array(z.object({ line: z.int().describe('From 1.'), reason: z.string() }))
    .describe('The first 100 lines that were not added.'),
  rejectedTotal: z.int(),
});

export const statusAnswer = z
  .object({
    status: z.literal('ok'),
    inventory: z.object({
      profiles: z.object({ available: z.int(), used: z.int() }),
      proxies: z.object({ available: z.int(), total: z.int(), bad: z.int() }),
    }),
    rules: z.object({ maxSessionsPerProxy: z.int(), maxSessionsPerPhone: z.int() }),
    reserve: z.object({
      heldProfiles: z.int().describe('Of the available profiles, those that are put aside.'),
      drainingProxies: z.int(),
      capacity: z.int().describe('How many more sessions the available proxies can carry.'),
    }),
  })
  .loose();

const proxyState = z.enum(['available', 'full', 'bad', 'draining']);

export const proxyView = z.object({
  id: z.string().describe('Names the proxy in requests, without its credentials.'),
  proxy: z.string().describe('scheme://host:port'),
  sessions: z.int(),
  cap: z.int(),
  state: proxyState,
  lastError: z.object({ error: z.string(), at: z.string() }).nullable(),
});
export type ProxyView = z.infer<typeof proxyView>;

export const proxiesQuery = pageQuery.extend({
  state: proxyState.optional(),
  cursor: cursorSchema(/^\d{1,20}\.\d{1,9}$/),
});

export const proxiesAnswer = z.object({
  status: z.literal('ok'),
  proxies: z.array(proxyView),
  nextCursor: z.string().nullable(),
});

const proxyReference = z
  .string('must be a text')
  .min(1, 'must not be empty')
  .max(8192, 'is too long')
  .describe('The whole line, an id, or host:port with or without scheme if only one proxy has it.');

export const proxyBody = z.object({ proxy: proxyReference });

export const badProxyBody = proxyBody.extend({
  error: z.string('must be a text').max(500, 'must be at most 500 characters').nullish(),
  rebind: z.boolean('must be true or false').nullish().describe('Moves its sessions to other proxies.'),
});

export const badProxyAnswer = z.object({
  status: z.literal('ok'),
  proxy: proxyView,
  rebinding: z.boolean(),
});

export const proxyAnswer = z.object({ status: z.literal('ok'), proxy: proxyView });

export const drainAnswer = z.object({
  status: z.literal('ok'),
  proxy: z.string().describe('scheme://host:port'),
  removed: z.boolean().describe('False while sessions are on it: it goes with the last one.'),
  sessions: z.int(),
});
