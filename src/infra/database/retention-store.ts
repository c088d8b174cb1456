import type { Kysely } from 'kysely';
import type { RetentionStore, RetentionSubject } from '../../services/retention/retention.ts';
import type { Schema } from './schema.ts';

const ENDED_TASKS = ['sent', 'delivered', 'read', 'failed', 'cancelled'];
const ENDED_JOBS = ['done', 'cancelled'];

export function createRetentionStore(db: Kysely<Schema>): RetentionStore {
  const deleteFrom: Record<
    RetentionSubject,
    (before: string, limit: number) => Promise<{ numDeletedRows: bigint }>
  > = {
    tasks: (before, limit) =>
      db
        .deleteFrom('tasks')
        .where(({ eb, refTuple, selectFrom }) =>
          eb(
            refTuple('id', 'session_id'),
            'in',
            selectFrom('tasks')
              .select(['id', 'session_id'])
              .where('created_at', '<', before)
              .where('state', 'in', ENDED_TASKS)
              // A job's totals are counted from its tasks: they go when the job has ended.
              .where((w) =>
                w.or([
                  w('job_id', 'is', null),
                  w('job_id', 'not in', selectFrom('jobs').select('id').where('state', 'not in', ENDED_JOBS)),
                ]),
              )
              .limit(limit)
              .$asTuple('id', 'session_id'),
          ),
        )
        .executeTakeFirstOrThrow(),
    jobs: (before, limit) =>
      db
        .deleteFrom('jobs')
        .where(
          'id',
          'in',
          db
            .selectFrom('jobs')
            .select('id')
            .where('finished_at', '<', before)
            .where('state', 'in', ENDED_JOBS)
            .limit(limit),
        )
        .executeTakeFirstOrThrow(),
    events: (before, limit) =>
      db
        .deleteFrom('events')
        .where(
          'id',
          'in',
          db.selectFrom('events').select('id').where('created_at', '<', before).orderBy('id').limit(limit),
        )
        .executeTakeFirstOrThrow(),
    bindings: (before, limit) =>
      db
        .deleteFrom('session_bindings')
        .where(
          'id',
          'in',
          db
            .selectFrom('session_bindings')
            .select('id')
            .where('status', '=', 'released')
            .where('updated_at', '<', before)
            .limit(limit),
        )
        .executeTakeFirstOrThrow(),
    senders: (before, limit) =>
      db
        .deleteFrom('recipient_senders')
        .where(({ eb, refTuple, selectFrom }) =>
          eb(
            refTuple('tenant', 'recipient'),
            'in',
            selectFrom('recipient_senders')
              .select(['tenant', 'recipient'])
              .where('updated_at', '<', before)
              .limit(limit)
              .$asTuple('tenant', 'recipient'),
          ),
        )
        .executeTakeFirstOrThrow(),
    webhooks: (before, limit) =>
      db
        .deleteFrom('webhook_events')
        .where(
          'seq',
          'in',
          db.selectFrom('webhook_events').select('seq').where('dead_at', '<', before).limit(limit),
        )
        .executeTakeFirstOrThrow(),
  };
  return {
    deleteEnded: async (subject, before, limit) =>
      Number((await deleteFrom[subject](before, limit)).numDeletedRows),

    async timeOfNewest(subject, count, from) {
      let query = db.selectFrom(subject).select('created_at');
      if (from !== null) query = query.where('created_at', '<=', from);
      const row = await query
        // Events have no index by time, and are written in the order of their ids.
        .orderBy(subject === 'events' ? 'id' : 'created_at', 'desc')
        .offset(count - 1)
        .limit(1)
        .executeTakeFirst();
      return row?.created_at ?? null;
    },
  };
}
