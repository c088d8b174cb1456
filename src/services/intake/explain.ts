import type { JobTotals } from '../../domain/job-state.ts';
import type { JobRecord, JobTaskStore, SessionDirectory } from './ports.ts';

/** Why a job does not go on, in words; null while messages can go out or all have their end. */
export async function explainWaiting(
  deps: { tasks: JobTaskStore; sessions: SessionDirectory },
  job: JobRecord,
  totals: JobTotals,
  nowMs: number,
): Promise<string | null> {
  const before = beforeDispatch(job, nowMs);
  if (before !== null) return before;
  if (job.state !== 'running' || totals.queued === 0) return null;
  const open = await deps.tasks.openBySession(job.id);
  const sessions = await deps.sessions.findMany(open.map(({ sessionId }) => sessionId));
  const stuck = open.filter(({ sessionId }) => {
    const session = sessions.get(sessionId);
    return !(session?.wanted && session.state === 'connected');
  });
  // As long as one session can send, the job moves.
  if (open.length === 0 || stuck.length < open.length) return null;
  const [first] = stuck;
  if (!first) return null;
  const state = stateInWords(sessions.get(first.sessionId));
  return stuck.length === 1
    ? `session ${first.sessionId} is ${state}`
    : `none of ${stuck.length} sessions is connected; session ${first.sessionId} is ${state}`;
}

/** Why the dispatcher does not come to the contacts of a job, in words; null if it is at them, or there is none left. */
export function beforeDispatch(job: JobRecord, nowMs: number): string | null {
  if (job.state === 'paused') return 'it was paused';
  if (job.state === 'waiting') return job.waitingFor;
  if (job.state !== 'accepted') return null;
  if (job.notBefore !== null && Date.parse(job.notBefore) > nowMs) return `its start time ${job.notBefore}`;
  return 'its turn at the dispatcher';
}

/** The state of a session in a sentence. */
export const stateInWords = (session: { state: string; wanted: boolean } | undefined | null): string =>
  !session ? 'gone' : session.wanted ? session.state.replaceAll('_', ' ') : 'stopped';
