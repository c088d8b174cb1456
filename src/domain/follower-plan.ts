import type { FleetAction, FleetPolicy, PlannedSession, PlannedWorker } from './fleet-model.ts';
import { hasWorker, isWanted } from './session-state.ts';

/**
 * What a runner that does not lead has to do with a worker of its own: the leader may not see it, and waits until it
 * is gone. A worker that is as it should be goes on, whoever leads.
 * @param session null for one that is not there any more
 * @param unlinkingForMs for how long the unlinking of its device has been asked for
 */
export function followerPlan(
  session: PlannedSession | null,
  worker: PlannedWorker,
  unlinkingForMs: number,
  policy: Pick<FleetPolicy, 'unlinkMs'>,
): Extract<FleetAction, { type: 'stop' | 'remove' | 'unlink' }> | null {
  const { sessionId } = worker;
  if (worker.state === 'exited') return { type: 'remove', sessionId };
  if (!session || worker.epoch < session.epoch) return { type: 'stop', sessionId, cause: 'outdated' };
  if (!isWanted(session)) {
    return session.logout && unlinkingForMs < policy.unlinkMs
      ? { type: 'unlink', sessionId }
      : { type: 'stop', sessionId, cause: 'unwanted' };
  }
  const isCurrent = worker.generation === session.generation && hasWorker(session.state);
  return isCurrent ? null : { type: 'stop', sessionId, cause: 'outdated' };
}
