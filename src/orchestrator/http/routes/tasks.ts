import { z } from 'zod';
import { cursorSchema, idSchema, pageQuery } from '../../../protocol/common.ts';
import { TASK_STATES, taskSchema, taskStorySchema } from '../../../protocol/tasks.ts';
import type { TaskStories } from '../../../services/intake/task-stories.ts';
import type { RouteModule } from '../route.ts';

/** What became of single messages. */
export function taskRoutes({ stories }: { stories: TaskStories }): RouteModule {
  return (routes) => {
    routes.add(
      {
        method: 'get',
        path: '/api/messages/{jobId}/tasks',
        tag: 'Messages',
        summary: 'The messages of a job, in the order of its contacts',
        description:
          'All of them, from the moment the job is accepted. `state=queued` gives every message without an end, as in ' +
          'the totals of the job; the other states are taken literally.',
        audience: 'management',
        params: z.object({ jobId: idSchema }),
        query: pageQuery.extend({ cursor: cursorSchema(/^\d{1,9}$/), state: z.enum(TASK_STATES).optional() }),
        response: z.object({
          status: z.literal('ok'),
          tasks: z.array(taskSchema),
          nextCursor: z.string().nullable(),
        }),
        errors: [404],
      },
      async ({ params, query }) => {
        const { tasks, last } = await stories.list({
          jobId: params.jobId,
          state: query.state ?? null,
          after: query.cursor === undefined ? -1 : Number(query.cursor),
          limit: query.limit,
        });
        return { status: 'ok', tasks, nextCursor: last === null ? null : String(last) };
      },
    );

    routes.add(
      {
        method: 'get',
        path: '/api/tasks/{taskId}',
        tag: 'Messages',
        summary: 'The story of one message',
        audience: 'management',
        params: z.object({ taskId: idSchema }),
        response: z.object({ status: z.literal('ok'), task: taskStorySchema }),
        errors: [404],
      },
      async ({ params }) => ({ status: 'ok', task: await stories.story(params.taskId) }),
    );
  };
}
