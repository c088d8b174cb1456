import { z } from 'zod';
import { idSchema } from './common.ts';
import { sessionSchema } from './sessions.ts';

export const nodePath = z.object({ id: idSchema });

export const nodeSchema = z.object({
  id: z.string(),
  state: z
    .enum(['ready', 'unreachable', 'cordoned', 'draining'])
    .describe('`cordoned` takes no new sessions; `draining` gives away those that it has, too.'),
  closed: z.boolean().describe('Takes no new sessions, whether it answers or not.'),
  capacity: z.number().int().nullable().describe('The most sessions; null for no limit of its own.'),
  running: z.number().int().describe('Sessions whose worker runs there.'),
  left: z.number().int().nullable().describe('While it drains: the sessions that are still there.'),
  sessions: z.array(z.string()).describe('Their ids.'),
});

export const nodeAnswer = z.object({ status: z.literal('ok'), node: nodeSchema });
export const listNodesAnswer = z.object({ status: z.literal('ok'), nodes: z.array(nodeSchema) });

export const migrateBody = z.object({ node: idSchema.describe('The id of a node.') });
export const migrateAnswer = z.object({
  status: z.literal('ok'),
  session: sessionSchema,
  migration: z.object({ fromNode: z.string().nullable(), toNode: z.string() }),
});
