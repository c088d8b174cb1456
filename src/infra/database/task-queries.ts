import type { Selectable } from 'kysely';
import type { TaskView } from '../../protocol/tasks.ts';
import { contactsOf } from '../../services/intake/contact-slices.ts';
import { CONTACTS_PER_SLICE } from '../../services/intake/prepare-request.ts';
import type { TaskQueries } from '../../services/intake/task-stories.ts';
import type { Database } from './database.ts';
import { readSlices } from './job-contacts.ts';
import type { TasksTable } from './schema.ts';

/** Reads task rows for people. */
export function createTaskQueries({ db }: Database): TaskQueries {
  return {
    async find(taskId) {
      const row = await db
        .selectFrom('tasks')
        .selectAll()
        .where('id', '=', taskId)
        .orderBy('created_at', 'desc')
        .limit(1)
        .executeTakeFirst();
      if (!row) return null;
      return {
        ...toView(row),
        mode: modeOf(row.payload),
        payload: row.payload,
      };
    },

    async ofJob({ jobId, states, after, limit }) {
      // One state at a time: the index has each state's rows in order, but not all states' together.
      const pages = await Promise.all(
        states.map((state) =>
          db
            .selectFrom('tasks')
            .selectAll()
            .where('job_id', '=', jobId)
            .where('state', '=', state)
            .where('position', '>', after)
            .orderBy('position')
            .limit(limit)
            .execute(),
        ),
      );
      const rows = pages.flat().sort((a, b) => a.position - b.position);
      return rows.slice(0, limit).map((row) => ({ position: row.position, task: toView(row) }));
    },

    async contacts(jobId, from, count) {
      const slices = Math.ceil(count / CONTACTS_PER_SLICE) + 1;
      return contactsOf(await readSlices(db, jobId, from, slices), from, count);
    },
  };
}

const toView = (row: Selectable<TasksTable>): TaskView => ({
  id: row.id,
  jobId: row.job_id,
  sessionId: row.session_id || null,
  to: row.recipient,
  state: row.state,
  reason: row.reason,
  attempts: row.attempts,
  whatsappId: row.whatsapp_id,
  createdAt: row.created_at,
  queuedAt: row.queued_at,
  claimedAt: row.claimed_at,
  sentAt: row.sent_at,
  deliveredAt: row.delivered_at,
  readAt: row.read_at,
  endedAt: row.ended_at,
});

/** The payload is whatever somebody pushed; a mode is not promised. */
function modeOf(payload: string): string | null {
  try {
    const { mode } = JSON.parse(payload) as { mode?: unknown };
    return typeof mode === 'string' ? mode : null;
  } catch {
    return null;
  }
}
