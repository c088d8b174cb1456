import { type Kysely, sql } from 'kysely';
import type { EventStore, NewEvent, StoredEvent } from '../../services/events/ports.ts';
import type { Database, DatabaseDialect } from './database.ts';
import type { Schema } from './schema.ts';
import { tellOfEvents } from './webhook-events.ts';

/** Any number that nothing else locks by. */
const EVENTS_LOCK = 7_210_931;

/**
 * Appends within the caller's transaction, for readers and for the webhooks of their sessions.
 * Readers resume by id, so an id must not become visible after a higher one: SQLite has one writer anyhow, on
 * Postgres the writers of events queue up until their commit.
 */
export async function insertEvents(
  trx: Kysely<Schema>,
  dialect: DatabaseDialect,
  events: readonly NewEvent[],
  at: string,
): Promise<void> {
  if (dialect === 'postgres') await sql`select pg_advisory_xact_lock(${sql.lit(EVENTS_LOCK)})`.execute(trx);
  await trx
    .insertInto('events')
    .values(
      events.map((event) => ({
        type: event.type,
        session_id: event.sessionId ?? null,
        job_id: event.jobId ?? null,
        data: JSON.stringify(event.data),
        created_at: at,
      })),
    )
    .execute();
  await tellOfEvents(trx, dialect, events, at);
}

export function createEventStore({ db, dialect }: Database): EventStore {
  return {
    async append(events, at) {
      if (events.length === 0) return;
      await db.transaction().execute((trx) => insertEvents(trx, dialect, events, at));
    },

    async after(id, filter, limit) {
      let query = db.selectFrom('events').selectAll().where('id', '>', id);
      if (filter.types.length > 0) query = query.where('type', 'in', filter.types);
      if (filter.sessionId !== null) query = query.where('session_id', '=', filter.sessionId);
      const rows = await query.orderBy('id').limit(limit).execute();
      return rows.map(
        (row): StoredEvent => ({
          id: row.id,
          type: row.type,
          sessionId: row.session_id,
          jobId: row.job_id,
          data: JSON.parse(row.data) as Record<string, unknown>,
          at: row.created_at,
        }),
      );
    },

    async latestId() {
      const row = await db
        .selectFrom('events')
        .select(({ fn }) => fn.max('id').as('id'))
        .executeTakeFirst();
      return row?.id ?? 0;
    },
  };
}
