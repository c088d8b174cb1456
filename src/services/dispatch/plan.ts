import type { SenderChooser } from '../../domain/choose-sender.ts';
import { renderMessage } from '../../domain/template.ts';
import { taskIdOfJob } from '../../kernel/ids.ts';
import type { Contact } from '../../protocol/messages.ts';
import type { JobRecord } from '../intake/ports.ts';
import type { PlannedRow } from './ports.ts';

/**
 * Who sends what: one planned task per contact, in order.
 * This is also the place where contacts that must not be written to would be told apart: they get a row that is
 * born as failed, as those do whose time is over.
 * @param from index of the first of `contacts` within the job
 * @param knownTo the session that the recipient knows
 * @param chooser of at least one sender; each choice weighs on those that follow
 */
export function planChunk(
  job: JobRecord,
  from: number,
  contacts: readonly Contact[],
  knownTo: (recipient: string) => string | undefined,
  chooser: SenderChooser,
): PlannedRow[] {
  const plan = rowsOf(job);
  const chosen = new Map<string, string>();
  return contacts.map((contact, index) => {
    const [phone] = contact;
    const sessionId = chooser.choose(chosen.get(phone) ?? knownTo(phone));
    if (sessionId === null) throw new Error('planned without a sender');
    chosen.set(phone, sessionId);
    return plan(sessionId, from + index, contact);
  });
}

/** Nobody sends these; a job that names its session keeps the name in the story. */
export function planExpired(job: JobRecord, from: number, contacts: readonly Contact[]): PlannedRow[] {
  const plan = rowsOf(job);
  return contacts.map((contact, index) => plan(job.sessionId ?? '', from + index, contact));
}

/**
 * The raw string is what `canonicalRaw` makes of the task, byte for byte, but what is the same in all tasks of the
 * job is written once. A task's id needs no escapes, nor does a phone.
 */
function rowsOf(job: JobRecord): (sessionId: string, position: number, contact: Contact) => PlannedRow {
  const { id: jobId, mediaRef, tenant, expiresAt } = job;
  const message = job.message ?? '';
  const mode = mediaRef === null ? 'message' : 'image';
  const end = JSON.stringify({ jobId, tenant: tenant ?? undefined, expiresAt: expiresAt ?? undefined }).slice(
    1,
  );
  const fixed = mediaRef === null ? null : `"mediaRef":${JSON.stringify(mediaRef)}`;
  return (sessionId, position, [phone, name]) => {
    const taskId = taskIdOfJob(jobId, position);
    const content = fixed ?? `"text":${JSON.stringify(renderMessage(message, name))}`;
    const raw = `{"taskId":"${taskId}","mode":"${mode}","to":"${phone}",${content},${end}`;
    return { sessionId, position, taskId, raw, recipient: phone, mediaRef };
  };
}
