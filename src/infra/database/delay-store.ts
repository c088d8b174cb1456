import { sql } from 'kysely';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { KeptDelays } from '../../services/outbox/ports.ts';
import type { Database } from './database.ts';

/** `outbox_delays`: one row per session at most. */
export function createDelayStore({ db }: Pick<Database, 'db'>, clock: Clock): KeptDelays {
  return {
    async keep(sessionId, forMs) {
      await db
        .insertInto('outbox_delays')
        .values({ session_id: sessionId, until: toIso(clock.nowMs() + forMs) })
        .onConflict((conflict) =>
          conflict
            .column('session_id')
            .doUpdateSet({ until: sql`excluded.until` })
            .whereRef('outbox_delays.until', '<', sql`excluded.until`),
        )
        .execute();
    },

    async drop(sessionId) {
      await db.deleteFrom('outbox_delays').where('session_id', '=', sessionId).execute();
    },

    async pending() {
      const now = clock.nowMs();
      await db.deleteFrom('outbox_delays').where('until', '<=', toIso(now)).execute();
      const rows = await db.selectFrom('outbox_delays').selectAll().execute();
      return rows.map(({ session_id, until }) => ({ sessionId: session_id, forMs: Date.parse(until) - now }));
    },
  };
}
