import { SenderChooser } from '../../domain/choose-sender.ts';
import { conflict } from '../../kernel/errors.ts';
import type { JobOutbox, JobRecord, JobTaskStore, KnownSession, SessionDirectory } from './ports.ts';

interface RetryDependencies {
  tasks: JobTaskStore;
  sessions: SessionDirectory;
  outbox: JobOutbox;
  hasMedia(ref: string): Promise<boolean>;
}

/**
 * Sends the failed messages of a job again; not those whose time is over.
 * @returns how many
 * @throws FlotillaError `media_gone`, `no_connected_session`
 */
export async function retryFailed(deps: RetryDependencies, job: JobRecord): Promise<number> {
  const failed = await deps.tasks.failed(job.id);
  if (failed.length === 0) return 0;
  if (job.mediaRef !== null && !(await deps.hasMedia(job.mediaRef))) {
    throw conflict('media_gone', 'The image of this job is no longer kept; send it again as a new job.');
  }
  const bySession = Map.groupBy(failed, ({ sessionId }) => sessionId);
  const sessions = await deps.sessions.findMany([...bySession.keys()]);
  let retried = 0;
  for (const [sessionId, tasks] of bySession) {
    const ids = tasks.map(({ taskId }) => taskId);
    if (isAlive(sessions.get(sessionId))) retried += await again(deps, sessionId, ids);
    else retried += await byOthers(deps, job, sessionId, ids);
  }
  return retried;
}

const isAlive = (session: KnownSession | undefined): boolean =>
  session?.wanted === true && session.state !== 'logged_out' && session.state !== 'failed';

/** By the same session: under the same WhatsApp ids, so that one that had arrived after all is not shown twice. */
async function again(deps: RetryDependencies, sessionId: string, ids: string[]): Promise<number> {
  await deps.outbox.replayDead(sessionId, ids);
  const known = await deps.outbox.known(sessionId, ids);
  // The ledger will say so too, but only in a moment; until then the job must not look as if all had ended.
  await deps.tasks.replayed(
    sessionId,
    ids.filter((id) => known.has(id)),
  );
  // What was not on the dead list has left the outbox for good: the dispatcher hands it over anew.
  const rest = ids.filter((id) => !known.has(id));
  await deps.tasks.reassign(rest.map((taskId) => ({ taskId, from: sessionId, to: sessionId })));
  return ids.length;
}

/** By whoever is least loaded. Out of the old outbox first, so that the old session can never send them too. */
async function byOthers(
  deps: RetryDependencies,
  job: JobRecord,
  from: string,
  ids: string[],
): Promise<number> {
  if (job.sessionId !== null) {
    throw conflict('no_connected_session', `Session ${job.sessionId}, which the job names, cannot send.`);
  }
  const others = (await deps.sessions.connected(job.tenant)).filter(({ id }) => id !== from);
  if (others.length === 0) throw conflict('no_connected_session', 'No session is connected that could send.');
  await deps.outbox.dropDead(from, ids);
  const chooser = new SenderChooser(others.map(({ id }) => ({ id, load: 0 })));
  await deps.tasks.reassign(ids.map((taskId) => ({ taskId, from, to: chooser.choose(undefined) ?? from })));
  return ids.length;
}
