import { taskIdOfJob } from '../../kernel/ids.ts';
import type { Contact } from '../../protocol/messages.ts';
import type { TaskView } from '../../protocol/tasks.ts';
import type { JobRecord } from './ports.ts';

/** A task with the place of its contact in the job. */
export interface PlacedTask {
  position: number;
  task: TaskView;
}

/** What a contact without a task row counts as; the same as in the totals of its job. */
export const stateAhead = (job: JobRecord): 'accepted' | 'cancelled' =>
  job.state === 'cancelled' ? 'cancelled' : 'accepted';

/**
 * Contacts that the dispatcher has not come to, as the tasks that they will be: up to `count` from a position on.
 * Those of a cancelled job may be gone; they are told without a recipient.
 */
export async function tasksAhead(
  queries: { contacts(jobId: string, from: number, count: number): Promise<Contact[]> },
  job: JobRecord,
  from: number,
  count: number,
): Promise<PlacedTask[]> {
  const first = Math.max(from, job.expanded);
  const wanted = Math.min(count, job.received - first);
  if (wanted <= 0) return [];
  const contacts = await queries.contacts(job.id, first, wanted);
  const there = job.state === 'cancelled' ? wanted : contacts.length;
  return Array.from({ length: there }, (_, i) => ({
    position: first + i,
    task: taskAhead(job, first + i, contacts[i]?.[0] ?? null),
  }));
}

function taskAhead(job: JobRecord, position: number, to: string | null): TaskView {
  const state = stateAhead(job);
  return {
    id: taskIdOfJob(job.id, position),
    jobId: job.id,
    sessionId: job.sessionId,
    to,
    state,
    reason: null,
    attempts: 0,
    whatsappId: null,
    createdAt: job.createdAt,
    queuedAt: null,
    claimedAt: null,
    sentAt: null,
    deliveredAt: null,
    readAt: null,
    endedAt: state === 'cancelled' ? (job.finishedAt ?? job.updatedAt) : null,
  };
}
