import { OPEN_STATES } from '../../domain/task-state.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { MediaReferences } from '../../services/media/ports.ts';
import type { Database } from './database.ts';

/** What failed can be tried again: its image is kept for so long. */
const KEPT_FOR_RETRY_MS = 7 * 86_400_000;

/** Counts what still needs a file; there is no counter that could be wrong. */
export function createMediaReferences({ db }: Database, clock: Clock): MediaReferences {
  return {
    async needed(refs) {
      if (refs.length === 0) return new Set();
      const retriable = toIso(clock.nowMs() - KEPT_FOR_RETRY_MS);
      const jobs = await db
        .selectFrom('jobs')
        .select('media_ref')
        .distinct()
        .where('media_ref', 'in', refs)
        .where('state', 'not in', ['done', 'cancelled'])
        .execute();
      const tasks = await db
        .selectFrom('tasks')
        .select('media_ref')
        .distinct()
        .where('media_ref', 'in', refs)
        .where((e) =>
          e.or([
            e('state', 'in', OPEN_STATES),
            e.and([e('state', '=', 'failed'), e('reason', '<>', 'expired'), e('ended_at', '>', retriable)]),
          ]),
        )
        .execute();
      return new Set([...jobs, ...tasks].flatMap((row) => row.media_ref ?? []));
    },
  };
}
