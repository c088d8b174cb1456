import { z } from 'zod';
import type { JobAction } from '../../../domain/job-state.ts';
import { idSchema, pageQuery } from '../../../protocol/common.ts';
import {
  acceptedSchema,
  jobSchema,
  jobStateSchema,
  messageMultipartSchema,
  messageRequestSchema,
  parseIdempotencyKey,
} from '../../../protocol/messages.ts';
import type { Intake } from '../../../services/intake/intake.ts';
import type { Jobs } from '../../../services/intake/jobs.ts';
import type { RouteModule } from '../route.ts';
import { readMessageBody } from './message-body.ts';

const jobPath = z.object({ jobId: idSchema });
const jobAnswer = z.object({ status: z.literal('ok'), job: jobSchema });

const ACTIONS: Record<JobAction, { summary: string; description: string }> = {
  pause: {
    summary: 'Pause a job',
    description: 'Nothing more is handed over, and what is queued comes back from the outboxes.',
  },
  resume: { summary: 'Resume a paused job', description: 'It goes on where it stood, in order.' },
  cancel: {
    summary: 'Cancel a job',
    description: 'What has not been sent will not be; what is in flight finishes.',
  },
  'retry-failed': {
    summary: 'Send the failed messages of a job again',
    description: 'By the same session, or by another where that one is gone. Expired ones stay as they are.',
  },
};

/** `/api/messages`: jobs in, and what became of them. */
export function messageRoutes({ intake, jobs }: { intake: Intake; jobs: Jobs }): RouteModule {
  return (routes) => {
    routes.add(
      {
        method: 'post',
        path: '/api/messages',
        tag: 'Messages',
        summary: 'Send a message to many',
        description:
          'Answers when the job is durably stored; a job of 100,000 contacts is fine. A phone that is there twice ' +
          'gets the message twice. With `jobId` or the header `Idempotency-Key` the request can be repeated: the ' +
          'same body answers with the same job, another body with 409.',
        audience: 'management',
        consumes: [
          { contentType: 'application/json', schema: messageRequestSchema },
          { contentType: 'multipart/form-data', schema: messageMultipartSchema },
        ],
        response: acceptedSchema,
        errors: [404, 409, 413, 415],
      },
      async ({ req, res }) => {
        const headerKey = parseIdempotencyKey(req.get('idempotency-key'));
        const { source, image } = await readMessageBody(req, res);
        const { jobId, received, hasImage } = await intake.accept({ source, headerKey, image });
        return { status: 'ok', received, hasImage, jobId };
      },
    );

    routes.add(
      {
        method: 'get',
        path: '/api/messages',
        tag: 'Messages',
        summary: 'List jobs, newest first',
        audience: 'management',
        query: pageQuery.extend({ state: jobStateSchema.optional() }),
        response: z.object({
          status: z.literal('ok'),
          jobs: z.array(jobSchema),
          nextCursor: z.string().nullable(),
        }),
      },
      async ({ query }) => ({
        status: 'ok',
        ...(await jobs.list({
          state: query.state ?? null,
          limit: query.limit,
          cursor: query.cursor ?? null,
        })),
      }),
    );

    routes.add(
      {
        method: 'get',
        path: '/api/messages/{jobId}',
        tag: 'Messages',
        summary: 'How far a job is',
        audience: 'management',
        params: jobPath,
        response: jobAnswer,
        errors: [404],
      },
      async ({ params }) => ({ status: 'ok', job: await jobs.view(params.jobId) }),
    );

    for (const [action, { summary, description }] of Object.entries(ACTIONS)) {
      routes.add(
        {
          method: 'post',
          path: `/api/messages/{jobId}/${action}`,
          tag: 'Messages',
          summary,
          description,
          audience: 'management',
          params: jobPath,
          response: jobAnswer,
          errors: [404, 409],
        },
        async ({ params }) => ({ status: 'ok', job: await jobs.act(params.jobId, action as JobAction) }),
      );
    }
  };
}
