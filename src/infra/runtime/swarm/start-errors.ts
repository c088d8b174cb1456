import { FlotillaError, unavailable } from '../../../kernel/errors.ts';
import { reasonOf, statusOf } from '../docker/engine-errors.ts';
import type { Refusal } from './service-start.ts';

/** What a refused start is for the session. */
export function notStarted({ why, placed }: Refusal): unknown {
  if (!placed) return unavailable('no_place', `No node of the swarm takes the worker: ${why}`);
  const missing = /no such image|manifest unknown|pull access denied/i.test(why);
  const code = missing ? 'image_missing' : 'worker_not_started';
  return unavailable(code, `The swarm could not start the worker: ${why}`);
}

/** An answer of the engine becomes a sentence that a session can show. */
export function startError(error: unknown): unknown {
  if (error instanceof FlotillaError || statusOf(error) === null) return error;
  return unavailable('worker_not_started', `The swarm could not start the worker: ${reasonOf(error)}`, {
    cause: error,
  });
}
