import { sessionPath } from '../../../protocol/common.ts';
import {
  setWebhookBody,
  webhookAnswer,
  webhookDeadAnswer,
  webhookDeadQuery,
  webhookReplayedAnswer,
} from '../../../protocol/webhooks.ts';
import type { Webhooks } from '../../../services/webhooks/webhooks.ts';
import type { RouteModule } from '../route.ts';

const BASE = '/api/sessions/{id}/webhook';
const TAG = 'webhooks';

export const webhookRoutes =
  ({ webhooks }: { webhooks: Webhooks }): RouteModule =>
  (routes) => {
    routes.add(
      {
        method: 'get',
        path: BASE,
        tag: TAG,
        summary: 'Where the events of a session go, and how they get on',
        audience: 'management',
        params: sessionPath,
        response: webhookAnswer,
        errors: [404],
      },
      async ({ params }) => ({ status: 'ok', webhook: await webhooks.view(params.id) }),
    );

    routes.add(
      {
        method: 'put',
        path: BASE,
        tag: TAG,
        summary: 'Set, change or take away the webhook of a session',
        description:
          'What waits goes to the new address; what happened before a webhook was set is not told.',
        audience: 'management',
        params: sessionPath,
        body: setWebhookBody,
        response: webhookAnswer,
        errors: [404],
      },
      async ({ params, body }) => ({ status: 'ok', webhook: await webhooks.setUrl(params.id, body.url) }),
    );

    routes.add(
      {
        method: 'get',
        path: `${BASE}/dead`,
        tag: TAG,
        summary: 'Events that were given up, newest first, each with its reason',
        audience: 'management',
        params: sessionPath,
        query: webhookDeadQuery,
        response: webhookDeadAnswer,
        errors: [404],
      },
      async ({ params, query }) => {
        const { events, nextCursor } = await webhooks.dead(params.id, {
          cursor: query.cursor ?? null,
          limit: query.limit,
        });
        return {
          status: 'ok',
          events: events.map(({ id, sessionId, at, type, data, reason, attempts, deadAt }) => ({
            id,
            event: { instance: sessionId, timestamp: at, type, data },
            reason,
            attempts,
            deadAt,
          })),
          nextCursor,
        };
      },
    );

    routes.add(
      {
        method: 'post',
        path: `${BASE}/dead/replay`,
        tag: TAG,
        summary: 'Deliver what was given up after all',
        audience: 'management',
        params: sessionPath,
        response: webhookReplayedAnswer,
        errors: [404],
      },
      async ({ params }) => ({ status: 'ok', replayed: await webhooks.replay(params.id) }),
    );
  };
