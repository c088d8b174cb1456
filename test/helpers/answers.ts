import type { z } from 'zod';
import type { getAuthAnswer, putAuthAnswer } from '../../src/protocol/auth.ts';
import type { ErrorBody } from '../../src/protocol/common.ts';
import type * as inventory from '../../src/protocol/inventory.ts';
import type { acceptedSchema, jobSchema } from '../../src/protocol/messages.ts';
import type { listNodesAnswer, migrateAnswer, nodeAnswer } from '../../src/protocol/nodes.ts';
import type * as outbox from '../../src/protocol/outbox.ts';
import type * as sessions from '../../src/protocol/sessions.ts';
import type { taskStorySchema } from '../../src/protocol/tasks.ts';
import type { listUpgradesAnswer, upgradeAnswer } from '../../src/protocol/upgrades.ts';
import type { workerEventAnswer } from '../../src/protocol/worker-events.ts';

type KeyOf<T> = T extends unknown ? keyof T : never;
type FieldOf<T, K> = T extends unknown ? (K extends keyof T ? Present<T[K]> : never) : never;
/** As if nothing were null or left out: a test that reads what is not there has failed. */
type Present<T> = T extends readonly (infer U)[]
  ? Present<U>[]
  : T extends object
    ? { [K in keyof T]-?: Present<NonNullable<T[K]>> }
    : NonNullable<T>;
/** The fields of all of these. */
type FieldsOf<T> = { [K in KeyOf<T>]: FieldOf<T, K> };

type Answers =
  | ErrorBody
  | z.infer<typeof sessions.sessionAnswer>
  | z.infer<typeof sessions.listSessionsAnswer>
  | z.infer<typeof sessions.logsAnswer>
  | z.infer<typeof sessions.qrAnswer>
  | z.infer<typeof sessions.pairingCodeAnswer>
  | z.infer<typeof sessions.restartedAnswer>
  | z.infer<typeof nodeAnswer>
  | z.infer<typeof listNodesAnswer>
  | z.infer<typeof migrateAnswer>
  | z.infer<typeof upgradeAnswer>
  | z.infer<typeof listUpgradesAnswer>
  | z.infer<typeof getAuthAnswer>
  | z.infer<typeof putAuthAnswer>
  | z.infer<typeof workerEventAnswer>
  | { field: string };

/** The body of an answer about sessions, nodes, upgrades, or to a worker. */
export type FleetBody = FieldsOf<Answers>;

/** A task as its story, as its worker gets it, or with what was pushed for it. */
type TaskBody = z.infer<typeof taskStorySchema> & {
  taskId: string;
  text: string;
  raw: string;
  task: { taskId: string };
};

type MoreAnswers =
  | Answers
  | z.infer<typeof inventory.uploadAnswer>
  | Pick<z.infer<typeof inventory.statusAnswer>, 'inventory' | 'rules'>
  | z.infer<typeof inventory.proxiesAnswer>
  | z.infer<typeof acceptedSchema>
  | { job: z.infer<typeof jobSchema>; task: TaskBody; tasks: TaskBody[] }
  | { components: Record<string, { status: string }> }
  | Omit<z.infer<typeof outbox.enqueuedSchema>, 'tasks'>
  | z.infer<typeof outbox.outboxStatusSchema>
  | Omit<z.infer<typeof outbox.claimedSchema>, 'task' | 'tasks'>
  | z.infer<typeof outbox.ackedSchema>;

/** The body of any answer. */
export type AnyBody = FieldsOf<MoreAnswers>;
