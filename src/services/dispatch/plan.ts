import { type Sender, SenderChooser } from '../../domain/choose-sender.ts';
import { renderMessage } from '../../domain/template.ts';
import { taskIdOfJob } from '../../kernel/ids.ts';
import type { Contact } from '../../protocol/messages.ts';
import type { JobRecord } from '../intake/ports.ts';
import type { DispatchTask, PlannedTask } from './ports.ts';

/**
 * Who sends what: one planned task per contact, in order.
 * This is also the place where contacts that must not be written to would be told apart: they get a row that is
 * born as failed, as those do whose time is over.
 * @param from index of the first of `contacts` within the job
 * @param sticky recipient → the session that they know
 * @param senders at least one
 */
export function planChunk(
  job: JobRecord,
  from: number,
  contacts: readonly Contact[],
  sticky: ReadonlyMap<string, string>,
  senders: readonly Sender[],
): PlannedTask[] {
  const chooser = new SenderChooser(senders);
  const known = new Map(sticky);
  return contacts.map((contact, index) => {
    const [phone] = contact;
    const sessionId = chooser.choose(known.get(phone));
    if (sessionId === null) throw new Error('planned without a sender');
    known.set(phone, sessionId);
    const position = from + index;
    return { sessionId, position, task: taskFor(job, position, contact) };
  });
}

/** Nobody sends these; a job that names its session keeps the name in the story. */
export function planExpired(job: JobRecord, from: number, contacts: readonly Contact[]): PlannedTask[] {
  return contacts.map((contact, index) => {
    const position = from + index;
    return { sessionId: job.sessionId ?? '', position, task: taskFor(job, position, contact) };
  });
}

function taskFor(job: JobRecord, position: number, [phone, name]: Contact): DispatchTask {
  return {
    taskId: taskIdOfJob(job.id, position),
    ...(job.mediaRef === null
      ? { mode: 'message', to: phone, text: renderMessage(job.message ?? '', name) }
      : { mode: 'image', to: phone, mediaRef: job.mediaRef }),
    jobId: job.id,
    ...(job.tenant === null ? {} : { tenant: job.tenant }),
    ...(job.expiresAt === null ? {} : { expiresAt: job.expiresAt }),
  };
}
