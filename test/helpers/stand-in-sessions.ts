import { z } from 'zod';
import type { RouteModule } from '../../src/orchestrator/http/route.ts';
import { createSessionBody, sessionAnswer } from '../../src/protocol/sessions.ts';
import type { SessionService } from '../../src/services/sessions/sessions.ts';

/** A stand-in worker is told by its provider how to behave, and the API knows real providers alone. */
export const isStandIn = (provider: unknown): boolean =>
  typeof provider === 'string' && /^(fine-\d+|qr|crash|deaf|hungry-\d+)$/.test(provider);

export const STAND_IN_PATH = '/test/sessions';

/** `POST /api/sessions` as it is, but for any provider. */
export const standInRoutes =
  (sessions: () => SessionService): RouteModule =>
  (routes) =>
    routes.add(
      {
        method: 'post',
        path: STAND_IN_PATH,
        tag: 'test',
        summary: 'Make a session with a stand-in worker',
        audience: 'management',
        body: createSessionBody.extend({ provider: z.string() }),
        response: sessionAnswer,
        successStatus: 201,
        errors: [],
      },
      async ({ body }) => ({ status: 'ok', session: await sessions().create(body) }),
    );
