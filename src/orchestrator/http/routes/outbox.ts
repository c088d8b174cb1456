import { z } from 'zod';
import { taskOfRaw } from '../../../domain/task.ts';
import { toIso } from '../../../kernel/clock.ts';
import { sessionPath } from '../../../protocol/common.ts';
import { enqueueSchema, MAX_ENQUEUE_BODY_BYTES, parseEnqueue } from '../../../protocol/enqueue.ts';
import {
  clearedSchema,
  deadQuery,
  deadSchema,
  enqueuedSchema,
  outboxStatusSchema,
  replayedSchema,
  replaySchema,
} from '../../../protocol/outbox.ts';
import type { Outbox } from '../../../services/outbox/outbox.ts';
import type { RouteModule } from '../route.ts';

const BASE = '/api/sessions/{id}/outbox';

export const outboxRoutes =
  ({ outbox }: { outbox: Outbox }): RouteModule =>
  (routes) => {
    routes.add(
      {
        method: 'post',
        path: `${BASE}/enqueue`,
        tag: 'outbox',
        summary: 'Queues one task, or many in order',
        description:
          'Durable before the answer. A task id that is known already for the session is not queued twice, so a ' +
          'request whose answer got lost can be repeated. Any well-formed session id has an outbox.',
        audience: 'management',
        params: sessionPath,
        body: z.looseObject({}),
        consumes: [{ contentType: 'application/json', schema: enqueueSchema }],
        bodyLimit: MAX_ENQUEUE_BODY_BYTES,
        response: enqueuedSchema,
        errors: [404, 413, 415],
        hot: true,
      },
      async ({ params, body }) => {
        const { many, tasks } = parseEnqueue(body);
        const { queued, results } = await outbox.enqueue(params.id, tasks);
        if (many) return { status: 'ok', queued, tasks: results };
        const { taskId, duplicate } = results[0] as (typeof results)[number];
        return { status: 'ok', taskId, queued, ...(duplicate ? { duplicate } : {}) };
      },
    );

    routes.add(
      {
        method: 'get',
        path: BASE,
        tag: 'outbox',
        summary: 'How much waits, is in flight and is dead',
        audience: 'management',
        params: sessionPath,
        response: outboxStatusSchema,
      },
      async ({ params }) => ({ status: 'ok', ...(await outbox.status(params.id)) }),
    );

    routes.add(
      {
        method: 'get',
        path: `${BASE}/dead`,
        tag: 'outbox',
        summary: 'Tasks that will not be sent, newest first, each with its reason',
        audience: 'management',
        params: sessionPath,
        query: deadQuery,
        response: deadSchema,
      },
      async ({ params, query }) => {
        const { tasks, nextCursor } = await outbox.dead(params.id, {
          cursor: query.cursor ?? null,
          limit: query.limit,
        });
        return {
          status: 'ok',
          tasks: tasks.map(({ raw, reason, atMs, attempts }) => {
            const task = taskOfRaw(raw);
            const taskId = (task as { taskId?: unknown } | null)?.taskId;
            return {
              taskId: typeof taskId === 'string' ? taskId : null,
              task,
              raw,
              reason,
              at: toIso(atMs),
              attempts,
            };
          }),
          nextCursor,
        };
      },
    );

    routes.add(
      {
        method: 'post',
        path: `${BASE}/dead/replay`,
        tag: 'outbox',
        summary: 'Queues dead tasks again, as new ones',
        audience: 'management',
        params: sessionPath,
        body: replaySchema.optional(),
        response: replayedSchema,
      },
      async ({ params, body }) => ({
        status: 'ok',
        replayed: await outbox.replayDead(params.id, body?.taskIds),
      }),
    );

    routes.add(
      {
        method: 'delete',
        path: BASE,
        tag: 'outbox',
        summary: 'Cancels what is queued; what is in flight stays',
        audience: 'management',
        params: sessionPath,
        response: clearedSchema,
      },
      async ({ params }) => ({
        status: 'ok',
        cleared: await outbox.clear(params.id, 'the outbox was cleared'),
      }),
    );
  };
