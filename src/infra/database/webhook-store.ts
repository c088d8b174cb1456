import { type Selectable, sql } from 'kysely';
import type { WebhookEvent, WebhookStore } from '../../services/webhooks/ports.ts';
import type { Database } from './database.ts';
import type { WebhookEventsTable } from './schema.ts';

const LOOK_AHEAD = 5000;

/** What waits is short and read from its front; what is parked is bounded by its reader. */
export function createWebhookStore({ db }: Database): WebhookStore {
  const events = () => db.selectFrom('webhook_events');
  /** The number of the event that has `count` newer ones of its kind. */
  const surplus = (sessionId: string, kind: 'is' | 'is not', count: number) =>
    events()
      .select('seq')
      .where('session_id', '=', sessionId)
      .where('dead_at', kind, null)
      .orderBy('seq', 'desc')
      .offset(count)
      .limit(1);

  return {
    async newest() {
      const row = await events()
        .select(({ fn }) => fn.max('seq').as('seq'))
        .executeTakeFirst();
      return row?.seq ?? 0;
    },

    async since(seq) {
      const rows = await events()
        .select(['seq', 'session_id'])
        .where('seq', '>', seq)
        .orderBy('seq')
        .limit(LOOK_AHEAD)
        .execute();
      return { sessionIds: [...new Set(rows.map((row) => row.session_id))], seq: rows.at(-1)?.seq ?? seq };
    },

    async heads() {
      // From the sessions that have a webhook to the first event of each: what stands behind it is not looked at.
      const { rows } = await sql<{ session_id: string; not_before: string | null }>`
        select s.id as session_id, e.not_before from sessions s
        cross join webhook_events e
        where s.webhook_url is not null and s.desired <> 'deleted' and e.seq = (
          select w.seq from webhook_events w where w.session_id = s.id and w.dead_at is null order by w.seq limit 1
        )`.execute(db);
      return rows.map((row) => ({ sessionId: row.session_id, notBefore: row.not_before }));
    },

    async url(sessionId) {
      const row = await db
        .selectFrom('sessions')
        .select('webhook_url')
        .where('id', '=', sessionId)
        .where('desired', '<>', 'deleted')
        .executeTakeFirst();
      return row?.webhook_url ?? null;
    },

    async next(sessionId) {
      const row = await db
        .selectFrom('sessions')
        .innerJoin('webhook_events', 'webhook_events.session_id', 'sessions.id')
        .selectAll('webhook_events')
        .select('sessions.webhook_url')
        .where('sessions.id', '=', sessionId)
        .where('sessions.desired', '<>', 'deleted')
        .where('dead_at', 'is', null)
        .orderBy('seq')
        .limit(1)
        .executeTakeFirst();
      return { url: row?.webhook_url ?? null, event: row ? toEvent(row) : null };
    },

    async delivered(seqs) {
      await db.deleteFrom('webhook_events').where('seq', 'in', seqs).execute();
    },

    async failed(seq, attempts, error, notBefore) {
      await db
        .updateTable('webhook_events')
        .set({ attempts, last_error: error, not_before: notBefore })
        .where('seq', '=', seq)
        .execute();
    },

    async rest(sessionId, notBefore) {
      await db
        .updateTable('webhook_events')
        .set({ not_before: notBefore })
        .where(
          'seq',
          '=',
          events()
            .select('seq')
            .where('session_id', '=', sessionId)
            .where('dead_at', 'is', null)
            .orderBy('seq')
            .limit(1),
        )
        .execute();
    },

    async park(seq, attempts, reason, at) {
      await db
        .updateTable('webhook_events')
        .set({ attempts, last_error: reason, dead_at: at })
        .where('seq', '=', seq)
        .execute();
    },

    async parkOld(sessionId, queuedBefore, reason, at) {
      const { numUpdatedRows } = await db
        .updateTable('webhook_events')
        .set({ last_error: reason, dead_at: at })
        .where('session_id', '=', sessionId)
        .where('dead_at', 'is', null)
        .where('queued_at', '<=', queuedBefore)
        .executeTakeFirst();
      return Number(numUpdatedRows);
    },

    async bound(sessionId, most, reason, at) {
      const { numUpdatedRows } = await db
        .updateTable('webhook_events')
        .set({ last_error: reason, dead_at: at })
        .where('session_id', '=', sessionId)
        .where('dead_at', 'is', null)
        .where('seq', '<=', surplus(sessionId, 'is', most))
        .executeTakeFirst();
      await db
        .deleteFrom('webhook_events')
        .where('session_id', '=', sessionId)
        .where('dead_at', 'is not', null)
        .where('seq', '<=', surplus(sessionId, 'is not', most))
        .execute();
      return Number(numUpdatedRows);
    },

    async queue(sessionId) {
      const session = await db
        .selectFrom('sessions')
        .select('webhook_url')
        .where('id', '=', sessionId)
        .where('desired', '<>', 'deleted')
        .executeTakeFirst();
      if (!session) return null;
      const own = events().where('session_id', '=', sessionId);
      const [head, counts] = await Promise.all([
        own.selectAll().where('dead_at', 'is', null).orderBy('seq').limit(1).executeTakeFirst(),
        own
          .select(({ fn }) => [fn.countAll().as('all'), fn.count('dead_at').as('dead')])
          .executeTakeFirstOrThrow(),
      ]);
      const dead = Number(counts.dead);
      return {
        url: session.webhook_url,
        waiting: Number(counts.all) - dead,
        dead,
        head: head
          ? {
              queuedAt: head.queued_at,
              attempts: head.attempts,
              lastError: head.last_error,
              notBefore: head.not_before,
            }
          : null,
      };
    },

    async setUrl(sessionId, url, at) {
      return await db.transaction().execute(async (trx) => {
        const { numUpdatedRows } = await trx
          .updateTable('sessions')
          .set({ webhook_url: url, updated_at: at })
          .where('id', '=', sessionId)
          .where('desired', '<>', 'deleted')
          .executeTakeFirst();
        if (url === null) {
          await trx
            .deleteFrom('webhook_events')
            .where('session_id', '=', sessionId)
            .where('dead_at', 'is', null)
            .execute();
        } else {
          await trx
            .updateTable('webhook_events')
            .set({ not_before: null })
            .where('session_id', '=', sessionId)
            .where('not_before', 'is not', null)
            .execute();
        }
        return numUpdatedRows > 0n;
      });
    },

    async dead(sessionId, before, limit) {
      let query = events().selectAll().where('session_id', '=', sessionId).where('dead_at', 'is not', null);
      if (before !== null) query = query.where('seq', '<', before);
      const rows = await query.orderBy('seq', 'desc').limit(limit).execute();
      return rows.map((row) => ({
        ...toEvent(row),
        reason: row.last_error ?? '',
        deadAt: row.dead_at ?? '',
      }));
    },

    async revive(sessionId, at) {
      const { numUpdatedRows } = await db
        .updateTable('webhook_events')
        .set({ dead_at: null, not_before: null, attempts: 0, queued_at: at })
        .where('session_id', '=', sessionId)
        .where('dead_at', 'is not', null)
        .executeTakeFirst();
      return Number(numUpdatedRows);
    },

    async totals() {
      const row = await events()
        .select(({ fn }) => [fn.countAll().as('all'), fn.count('dead_at').as('dead')])
        .executeTakeFirstOrThrow();
      return { waiting: Number(row.all) - Number(row.dead), dead: Number(row.dead) };
    },
  };
}

const toEvent = (row: Selectable<WebhookEventsTable>): WebhookEvent => ({
  seq: row.seq,
  sessionId: row.session_id,
  type: row.type,
  subject: row.subject,
  at: row.at,
  data: JSON.parse(row.data) as Record<string, unknown>,
  queuedAt: row.queued_at,
  attempts: row.attempts,
});
