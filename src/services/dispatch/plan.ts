import type { SenderChooser } from '../../domain/choose-sender.ts';
import type { Contact } from '../../protocol/messages.ts';
import type { JobRecord } from '../intake/ports.ts';
import type { QueuedTask } from '../outbox/ports.ts';
import type { Plan } from './ports.ts';
import { ownPartOf, rawFrameOf } from './raw-frame.ts';

/** Who was chosen for recipients, and who wrote to them last. */
export interface KnownSenders {
  get(recipient: string): string | undefined;
  set(recipient: string, sessionId: string): unknown;
}

/**
 * Who sends what, in order.
 * This is also the place where contacts that must not be written to would be told apart: they get a row that is
 * born as failed, as those do whose time is over.
 * @param from index of the first of `contacts` within the job
 * @param known is told of each choice
 * @param chooser of at least one sender; each choice weighs on those that follow
 */
export function planChunk(
  from: number,
  contacts: readonly Contact[],
  known: KnownSenders,
  chooser: SenderChooser,
): Plan {
  const senders = contacts.map(([phone]) => {
    const sessionId = chooser.choose(known.get(phone));
    if (sessionId === null) throw new Error('planned without a sender');
    known.set(phone, sessionId);
    return sessionId;
  });
  return { from, contacts, senders };
}

/** Nobody sends these; a job that names its session keeps the name in the story. */
export const planExpired = (job: JobRecord, from: number, contacts: readonly Contact[]): Plan => ({
  from,
  contacts,
  senders: contacts.map(() => job.sessionId ?? ''),
});

/** The tasks of a plan, by session, those of each in order. */
export function tasksOf(job: JobRecord, { from, contacts, senders }: Plan): Map<string, QueuedTask[]> {
  const frame = rawFrameOf(job);
  const { idBegin, begin, beforePhone, beforeOwn, end } = frame;
  const bySession = new Map<string, QueuedTask[]>();
  contacts.forEach(([phone, name], index) => {
    const position = from + index;
    const raw = begin + position + beforePhone + phone + beforeOwn + ownPartOf(frame, name) + end;
    const task = { taskId: idBegin + position, raw };
    const sessionId = senders[index] ?? '';
    const tasks = bySession.get(sessionId);
    if (tasks) tasks.push(task);
    else bySession.set(sessionId, [task]);
  });
  return bySession;
}
