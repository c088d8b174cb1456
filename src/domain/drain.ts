import type { PlacementFacts, PlannedSession, PlannedWorker } from './fleet-model.ts';
import { holdsFor } from './placement.ts';
import { isWanted } from './session-state.ts';

/** A move that takes longer does not hold up the others. */
const MOVE_COUNTS_MS = 60_000;

/**
 * The sessions that leave draining nodes now. Few at a time, and only as many as have a place elsewhere: a worker
 * that could not start again is left where it is. None while something is amiss, and nobody can tell of some workers.
 */
export function leaving(
  sessions: readonly PlannedSession[],
  bySession: ReadonlyMap<string, PlannedWorker>,
  facts: PlacementFacts,
  options: { atOnce: number; room: number; busy: ReadonlySet<string> },
): { sessionId: string; fromNode: string }[] {
  const draining = new Set(facts.nodes.filter((node) => node.draining).map(({ name }) => name));
  if (draining.size === 0 || [...bySession.values()].some(({ unknown }) => unknown !== undefined)) return [];
  const onTheWay = (session: PlannedSession): boolean => {
    const move = facts.moves.get(session.id);
    return holdsFor(move, session) && (move?.ageMs ?? 0) < MOVE_COUNTS_MS && isWanted(session);
  };
  const moving = sessions.filter(onTheWay).length;
  let budget = Math.min(options.atOnce - moving, options.room - moving);
  const gone: { sessionId: string; fromNode: string }[] = [];
  for (const session of sessions) {
    const worker = bySession.get(session.id);
    const node = worker?.node ?? null;
    if (budget <= 0) break;
    if (worker?.state !== 'running' || node === null || !draining.has(node)) continue;
    // One that is being replaced goes elsewhere anyway.
    if (worker.generation !== session.generation || !isWanted(session)) continue;
    if (options.busy.has(session.id) || onTheWay(session)) continue;
    gone.push({ sessionId: session.id, fromNode: node });
    budget -= 1;
  }
  return gone;
}
