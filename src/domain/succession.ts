import type { FleetAction, PlannedMove, PlannedSession, PlannedWorker } from './fleet-model.ts';
import { isComing, type Places } from './placement.ts';

/**
 * What a worker that is as it should be has to make room for: a session that is asked to go elsewhere is prepared
 * there while it goes on here. A successor that nobody waits for any more goes.
 */
export function succession(
  session: PlannedSession,
  worker: PlannedWorker,
  move: PlannedMove | undefined,
  places: Places,
): FleetAction[] {
  const sessionId = session.id;
  if (!isComing(move, session)) {
    return worker.successor === undefined ? [] : [{ type: 'discard', sessionId }];
  }
  // Who has just begun is let begin.
  if (session.state === 'starting') return [];
  const place = places.take(session);
  if (place === 'wait') return [];
  if (place === 'full' || place.node === null || place.node === (worker.node ?? null)) {
    return [{ type: 'stay', sessionId, reason: 'no other node takes it' }];
  }
  return [{ type: 'replace', sessionId, node: place.node }];
}
