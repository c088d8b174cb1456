import { z } from 'zod';
import type { RouteModule } from '../route.ts';

const answer = z.object({
  status: z.literal('ok'),
  version: z.string().nullable().describe('Such as 2.3000.1023456789; null when none is known.'),
});

/** What workers connect with: one version for all of them. */
export const whatsappVersionRoutes =
  (deps: { current(): Promise<string | null> }): RouteModule =>
  (routes) => {
    routes.add(
      {
        method: 'get',
        path: '/api/worker/whatsapp-version',
        tag: 'worker',
        summary: 'The WhatsApp web version that workers should connect with',
        audience: 'worker',
        response: answer,
      },
      async () => ({ status: 'ok', version: await deps.current() }),
    );
  };
