import type { CompiledQuery, Selectable } from 'kysely';
import { sql } from 'kysely';
import type { JobState } from '../../domain/job-state.ts';
import { OPEN_STATES } from '../../domain/task-state.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { invalid } from '../../kernel/errors.ts';
import type { JobRecord, JobStore, NewJob } from '../../services/intake/ports.ts';
import { CONTACTS_PER_SLICE } from '../../services/intake/prepare-request.ts';
import type { Database } from './database.ts';
import type { JobsTable } from './schema.ts';

/** Rows per INSERT statement. */
const SLICES_PER_INSERT = 10;

export function createJobStore(database: Database, clock: Clock): JobStore {
  const { db } = database;
  const now = (): string => toIso(clock.nowMs());

  return {
    async insert(job) {
      const rows = job.slices.map((contacts, n) => ({
        job_id: job.id,
        first: n * CONTACTS_PER_SLICE,
        contacts,
      }));
      const inserts: CompiledQuery[] = [];
      for (let from = 0; from < rows.length; from += SLICES_PER_INSERT) {
        const some = rows.slice(from, from + SLICES_PER_INSERT);
        inserts.push(db.insertInto('job_contacts').values(some).compile());
      }
      return database.fenced([
        db
          .insertInto('jobs')
          .values(jobRow(job, now()))
          // Whichever is taken, the id or the key: two requests at once make one job.
          .onConflict((conflict) => conflict.doNothing())
          .compile(),
        ...inserts,
      ]);
    },

    async find(jobId) {
      const row = await db.selectFrom('jobs').selectAll().where('id', '=', jobId).executeTakeFirst();
      return row ? toRecord(row) : null;
    },

    async findByKey(key) {
      const row = await db
        .selectFrom('jobs')
        .selectAll()
        .where((e) => e.or([e('idempotency_key', '=', key), e('id', '=', key)]))
        .orderBy(sql`case when idempotency_key = ${key} then 0 else 1 end`)
        .limit(1)
        .executeTakeFirst();
      return row ? toRecord(row) : null;
    },

    async list({ state, limit, cursor }) {
      let query = db.selectFrom('jobs').selectAll();
      if (state) query = query.where('state', '=', state);
      if (cursor) {
        const [createdAt, id] = decodeCursor(cursor);
        query = query.where((e) =>
          e.or([e('created_at', '<', createdAt), e.and([e('created_at', '=', createdAt), e('id', '<', id)])]),
        );
      }
      const rows = await query
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(limit + 1)
        .execute();
      const last = rows.length > limit ? rows[limit - 1] : undefined;
      return {
        jobs: rows.slice(0, limit).map(toRecord),
        nextCursor: last ? encodeCursor(last.created_at, last.id) : null,
      };
    },

    async move(jobId, from, to) {
      const { numUpdatedRows } = await db
        .updateTable('jobs')
        .set({ state: to, waiting_for: null, finished_at: null, updated_at: now() })
        .where('id', '=', jobId)
        .where('state', 'in', from)
        .executeTakeFirst();
      return numUpdatedRows > 0n;
    },

    async inStates(states, after, limit) {
      const rows = await db
        .selectFrom('jobs')
        .selectAll()
        .where('state', 'in', states)
        .where('id', '>', after)
        .orderBy('id')
        .limit(limit)
        .execute();
      return rows.map(toRecord);
    },

    async finishIfEnded(jobId) {
      const at = now();
      const { numUpdatedRows } = await db
        .updateTable('jobs')
        .set({ state: 'done', waiting_for: null, finished_at: at, updated_at: at })
        .where('id', '=', jobId)
        .where('state', 'in', ['accepted', 'waiting', 'running'])
        .whereRef('expanded', '>=', 'received')
        .where(({ not, exists, selectFrom }) =>
          not(
            exists(
              selectFrom('tasks')
                .select('tasks.id')
                .where('tasks.job_id', '=', jobId)
                .where('tasks.state', 'in', OPEN_STATES),
            ),
          ),
        )
        .executeTakeFirst();
      return numUpdatedRows > 0n;
    },

    async unsettled() {
      const rows = await db
        .selectFrom('jobs')
        .selectAll()
        .where('state', '=', 'cancelled')
        .where('finished_at', 'is', null)
        .execute();
      return rows.map(toRecord);
    },

    async stampWithdrawn(jobId) {
      await db
        .updateTable('jobs')
        .set((e) => ({ handed_over: e.ref('expanded') }))
        .where('id', '=', jobId)
        .where('state', '=', 'paused')
        .execute();
    },

    async stampFinished(jobId) {
      await db.transaction().execute(async (tx) => {
        await tx
          .updateTable('jobs')
          .set({ finished_at: now() })
          .where('id', '=', jobId)
          .where('finished_at', 'is', null)
          .execute();
        await tx.deleteFrom('job_contacts').where('job_id', '=', jobId).execute();
      });
    },
  };
}

function jobRow(job: NewJob, now: string) {
  return {
    id: job.id,
    idempotency_key: job.idempotencyKey,
    digest: job.digest,
    tenant: job.tenant,
    session_id: job.sessionId,
    message: job.message,
    media_ref: job.mediaRef,
    received: job.received,
    expanded: 0,
    handed_over: 0,
    state: 'accepted',
    waiting_for: null,
    not_before: job.notBefore,
    expires_at: job.expiresAt,
    created_at: now,
    updated_at: now,
    finished_at: null,
  };
}

/** @internal shared with the dispatcher's store */
export const toRecord = (row: Selectable<JobsTable>): JobRecord => ({
  id: row.id,
  digest: row.digest,
  tenant: row.tenant,
  sessionId: row.session_id,
  message: row.message,
  mediaRef: row.media_ref,
  received: row.received,
  expanded: row.expanded,
  handedOver: row.handed_over,
  state: row.state as JobState,
  waitingFor: row.waiting_for,
  notBefore: row.not_before,
  expiresAt: row.expires_at,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  finishedAt: row.finished_at,
});

const encodeCursor = (createdAt: string, id: string): string =>
  Buffer.from(JSON.stringify([createdAt, id])).toString('base64url');

function decodeCursor(cursor: string): [string, string] {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Array.isArray(value) && typeof value[0] === 'string' && typeof value[1] === 'string') {
      return [value[0], value[1]];
    }
  } catch {
    // Not one of ours: said below.
  }
  throw invalid('invalid_request', 'cursor is not one that this endpoint gave', {
    details: { field: 'cursor' },
  });
}
