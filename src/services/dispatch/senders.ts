import type { Sender } from '../../domain/choose-sender.ts';
import type { JobRecord, SessionDirectory } from '../intake/ports.ts';
import type { OutboxDepths } from './ports.ts';

/** The sessions that may send for a job right now, with what each has before it. */
export async function findSenders(
  deps: { sessions: SessionDirectory; depths: OutboxDepths },
  job: Pick<JobRecord, 'sessionId' | 'tenant'>,
): Promise<Sender[]> {
  if (job.sessionId !== null) {
    const session = await deps.sessions.find(job.sessionId);
    return session?.wanted && session.state === 'connected' ? [{ id: session.id, load: 0 }] : [];
  }
  const connected = await deps.sessions.connected(job.tenant);
  if (connected.length === 0) return [];
  const depths = await deps.depths.depths(connected.map(({ id }) => id));
  return connected.map(({ id }) => ({ id, load: depths.get(id) ?? 0 }));
}
