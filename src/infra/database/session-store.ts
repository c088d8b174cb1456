import type { Insertable, Selectable, SqlBool, Updateable } from 'kysely';
import { type Expression, type ExpressionBuilder, type Kysely, sql } from 'kysely';
import {
  type DesiredState,
  isResting,
  SESSION_STATES,
  type SessionState,
} from '../../domain/session-state.ts';
import type {
  RepeatableRequest,
  SessionGuard,
  SessionPatch,
  SessionRecord,
  SessionStore,
} from '../../services/sessions/ports.ts';
import type { Database } from './database.ts';
import { insertEvents } from './event-store.ts';
import type { Schema, SessionsTable } from './schema.ts';

/** Any number that nothing else locks by. */
const COUNT_LOCK = 7_210_932;
const RESTING = SESSION_STATES.filter(isResting);
/** Below every engine's limit of parameters. */
const IDS_PER_QUERY = 1000;

export function createSessionStore({ db, dialect }: Database): SessionStore {
  const listed = () => db.selectFrom('sessions').selectAll().where('desired', '<>', 'deleted');

  return {
    async insert(session, maxWanted, request = null) {
      return await db.transaction().execute(async (trx) => {
        if (dialect === 'postgres')
          await sql`select pg_advisory_xact_lock(${sql.lit(COUNT_LOCK)})`.execute(trx);
        if (request !== null && !(await takeKey(trx, session.id, request))) return 'key_taken';
        const giveUp = () => eraseSession(trx, session.id);
        const result = await trx
          .insertInto('sessions')
          .values(toRow(session))
          .onConflict((conflict) => conflict.doNothing())
          .executeTakeFirst();
        if (Number(result.numInsertedOrUpdatedRows ?? 0) === 0) {
          await giveUp();
          return 'profile_taken';
        }
        // Counted with its own row, behind the lock that the insert took: two at once cannot both be the last.
        if ((await countWanted(trx)) <= maxWanted) return 'inserted';
        await giveUp();
        return 'full';
      });
    },

    async findByKey(key) {
      const row = await db
        .selectFrom('session_requests')
        .innerJoin('sessions', 'sessions.id', 'session_requests.session_id')
        .selectAll('sessions')
        .select('session_requests.digest')
        .where('idempotency_key', '=', key)
        .executeTakeFirst();
      return row ? { session: toRecord(row), digest: row.digest } : null;
    },

    async find(id) {
      const row = await db.selectFrom('sessions').selectAll().where('id', '=', id).executeTakeFirst();
      return row ? toRecord(row) : null;
    },

    async beingDeleted() {
      const rows = await db.selectFrom('sessions').select('id').where('desired', '=', 'deleted').execute();
      return rows.map(({ id }) => id);
    },

    async page({ limit, after, state, tenant }) {
      let query = listed();
      if (state !== null) query = query.where('state', '=', state);
      if (tenant !== null) query = query.where('tenant', '=', tenant);
      if (after !== null) {
        query = query.where(
          sql<SqlBool>`(${sql.ref('created_at')}, ${sql.ref('id')}) > (${after.createdAt}, ${after.id})`,
        );
      }
      const rows = await query.orderBy('created_at').orderBy('id').limit(limit).execute();
      return rows.map(toRecord);
    },

    async all() {
      const rows = await db.selectFrom('sessions').selectAll().orderBy('created_at').orderBy('id').execute();
      return rows.map(toRecord);
    },

    async connected({ tenant, ids }) {
      const select = async (some: readonly string[] | null): Promise<SessionRecord[]> => {
        let query = listed().where('desired', '=', 'running').where('state', '=', 'connected');
        if (tenant !== undefined) query = query.where('tenant', '=', tenant);
        if (some !== null) query = query.where('id', 'in', some);
        return (await query.orderBy('id').execute()).map(toRecord);
      };
      if (ids === undefined) return await select(null);
      const found: SessionRecord[] = [];
      for (let at = 0; at < ids.length; at += IDS_PER_QUERY) {
        found.push(...(await select(ids.slice(at, at + IDS_PER_QUERY))));
      }
      return found;
    },

    countWanted: () => countWanted(db),

    async counts() {
      const row = await db
        .selectFrom('sessions')
        .select(({ fn }) => [
          fn.countAll().as('total'),
          fn.sum(sql<number>`case when state = 'connected' then 1 else 0 end`).as('connected'),
        ])
        .where('desired', '<>', 'deleted')
        .executeTakeFirstOrThrow();
      return { total: Number(row.total), connected: Number(row.connected ?? 0) };
    },

    async update(id, patch, guard, at) {
      const result = await db
        .updateTable('sessions')
        .set({ ...toColumns(patch), updated_at: at })
        .where('id', '=', id)
        .where((eb) => guarded(eb, guard))
        .executeTakeFirst();
      return result.numUpdatedRows > 0n;
    },

    async transition(id, change, event, at) {
      return await db.transaction().execute(async (trx) => {
        // Written to first: a transaction that reads before it writes is refused by SQLite when another
        // process wrote in between, and on Postgres this locks the row.
        const row = await trx
          .updateTable('sessions')
          .set({ updated_at: at })
          .where('id', '=', id)
          .where('state', 'in', change.from)
          .where((eb) => guarded(eb, change.guard ?? {}))
          .returning('state')
          .executeTakeFirst();
        if (!row) return null;
        const from = row.state as SessionState;
        await trx
          .updateTable('sessions')
          .set({ ...toColumns(change.patch ?? {}), state: change.to, reason: change.reason })
          .where('id', '=', id)
          .execute();
        await insertEvents(trx, dialect, [event(from)], at);
        return from;
      });
    },

    async erase(id) {
      await db.transaction().execute((trx) => eraseSession(trx, id));
    },
  };
}

/** @returns whether it was free */
async function takeKey(db: Kysely<Schema>, sessionId: string, request: RepeatableRequest): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await db
    .insertInto('session_requests')
    .values({ idempotency_key: request.key, digest: request.digest, session_id: sessionId })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return Number(numInsertedOrUpdatedRows ?? 0) > 0;
}

async function eraseSession(db: Kysely<Schema>, id: string): Promise<void> {
  await db.deleteFrom('session_requests').where('session_id', '=', id).execute();
  await db.deleteFrom('webhook_events').where('session_id', '=', id).execute();
  await db.deleteFrom('sessions').where('id', '=', id).execute();
}

async function countWanted(db: Kysely<Schema>): Promise<number> {
  const row = await db
    .selectFrom('sessions')
    .select(({ fn }) => fn.countAll().as('count'))
    .where('desired', '=', 'running')
    .where('state', 'not in', RESTING)
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

function guarded(eb: ExpressionBuilder<Schema, 'sessions'>, guard: SessionGuard): Expression<SqlBool> {
  const conditions: Expression<SqlBool>[] = [];
  if (guard.desired !== undefined) conditions.push(eb('desired', '=', guard.desired));
  if (guard.generation !== undefined) conditions.push(eb('generation', '=', guard.generation));
  if (guard.epoch !== undefined) conditions.push(eb('epoch', '=', guard.epoch));
  if (guard.epochBelow !== undefined) conditions.push(eb('epoch', '<', guard.epochBelow));
  return eb.and(conditions);
}

function toRecord(row: Selectable<SessionsTable>): SessionRecord {
  return {
    id: row.id,
    phone: row.phone,
    profile: row.profile,
    tenant: row.tenant,
    provider: row.provider,
    webhookUrl: row.webhook_url,
    resources: row.resources === null ? null : (JSON.parse(row.resources) as SessionRecord['resources']),
    desired: row.desired as DesiredState,
    generation: row.generation,
    state: row.state as SessionState,
    reason: row.reason,
    proxy: row.proxy,
    direct: row.direct === 1,
    jid: row.jid,
    epoch: row.epoch,
    crashes: row.crashes,
    notBefore: row.not_before,
    logout: row.logout === 1,
    image: row.image,
    workerImage: row.worker_image,
    unwantedEnds: row.unwanted_ends,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    connectedAt: row.connected_at,
  };
}

function toRow(session: SessionRecord): Insertable<SessionsTable> {
  return {
    id: session.id,
    phone: session.phone,
    profile: session.profile,
    tenant: session.tenant,
    provider: session.provider,
    webhook_url: session.webhookUrl,
    resources: session.resources === null ? null : JSON.stringify(session.resources),
    desired: session.desired,
    generation: session.generation,
    state: session.state,
    reason: session.reason,
    proxy: session.proxy,
    direct: session.direct ? 1 : 0,
    jid: session.jid,
    epoch: session.epoch,
    crashes: session.crashes,
    not_before: session.notBefore,
    logout: session.logout ? 1 : 0,
    image: session.image,
    worker_image: session.workerImage,
    unwanted_ends: session.unwantedEnds,
    created_at: session.createdAt,
    updated_at: session.updatedAt,
    connected_at: session.connectedAt,
  };
}

function toColumns(patch: SessionPatch): Updateable<SessionsTable> {
  const { notBefore, logout, connectedAt, workerImage, unwantedEnds, ...same } = patch;
  return {
    ...same,
    ...(notBefore === undefined ? {} : { not_before: notBefore }),
    ...(logout === undefined ? {} : { logout: logout ? 1 : 0 }),
    ...(connectedAt === undefined ? {} : { connected_at: connectedAt }),
    ...(workerImage === undefined ? {} : { worker_image: workerImage }),
    ...(unwantedEnds === undefined ? {} : { unwanted_ends: unwantedEnds }),
  };
}
