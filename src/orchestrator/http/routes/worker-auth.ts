import { unavailable } from '../../../kernel/errors.ts';
import { AUTH_BODY_LIMIT, getAuthAnswer, putAuthAnswer, putAuthBody } from '../../../protocol/auth.ts';
import { sessionPath } from '../../../protocol/common.ts';
import type { AuthState } from '../../../services/auth-state/auth-state.ts';
import type { Turns } from '../../../services/fleet/turns.ts';
import { whenGone } from '../client-gone.ts';
import type { RouteModule } from '../route.ts';

const TAG = 'worker';

export const workerAuthRoutes =
  (deps: { auth: AuthState; turns: Turns; stopping: AbortSignal }): RouteModule =>
  (routes) => {
    routes.add(
      {
        method: 'get',
        path: '/api/worker/sessions/{id}/auth',
        tag: TAG,
        summary: 'The auth state of a session',
        description:
          'From here on, writes of older workers are refused with 409 `stale_epoch`. One that was started before ' +
          'its turn waits for it here, and is told 503 `not_your_turn` when that takes long: it asks again.',
        audience: 'worker',
        params: sessionPath,
        response: getAuthAnswer,
        errors: [403, 404, 409],
      },
      async ({ params, worker, res }) => {
        const gone = whenGone(res);
        try {
          await deps.turns.wait(params.id, worker.epoch, AbortSignal.any([gone.signal, deps.stopping]));
        } catch (error) {
          if (gone.signal.aborted) return undefined;
          if (deps.stopping.aborted) throw unavailable('stopping', 'The orchestrator stops; ask again.');
          throw error;
        }
        res.type('json').send(await deps.auth.load(params.id, worker.epoch));
        return undefined;
      },
    );

    routes.add(
      {
        method: 'put',
        path: '/api/worker/sessions/{id}/auth',
        tag: TAG,
        summary: 'Change the auth state: all of it or nothing, in order',
        description:
          'The same sequence again changes nothing and is fine; a gap is 409 `auth_out_of_order`, an older ' +
          'worker 409 `stale_epoch`.',
        audience: 'worker',
        params: sessionPath,
        body: putAuthBody,
        bodyLimit: AUTH_BODY_LIMIT,
        response: putAuthAnswer,
        errors: [403, 404, 409, 413],
      },
      async ({ params, body, worker }) => {
        const { sequence, set } = body;
        const applied = await deps.auth.apply(params.id, worker.epoch, sequence, set);
        return { status: 'ok', sequence, applied };
      },
    );
  };
