import type { ObservedWorker } from '../../../services/fleet/ports.ts';
import type { SeenWorker } from './container-observer.ts';

/**
 * One worker for each session out of all that the engines show. A session is on one host; on two only while an old
 * worker is being taken away, and then the newer one counts. A successor stands beside the worker that it is to
 * follow, and for itself when there is none.
 * @returns `replaced`: older ones that nobody else would take away
 */
export function workersOfSessions(seen: readonly SeenWorker[]): {
  workers: ObservedWorker[];
  replaced: SeenWorker[];
} {
  const present = newestOfEach(seen.filter(({ role }) => role === 'worker'));
  const successors = newestOfEach(seen.filter(({ role }) => role === 'successor'));
  const workers = new Map([...successors, ...present].map(([id, { role: _, ...worker }]) => [id, worker]));
  for (const [sessionId, { epoch, unknown }] of successors) {
    const worker = workers.get(sessionId);
    if (worker && present.has(sessionId) && unknown === undefined) worker.successor = epoch;
  }
  const replaced = seen.filter(
    (each) => each.role === 'worker' && present.get(each.sessionId) !== each && each.unknown === undefined,
  );
  return { workers: [...workers.values()], replaced };
}

function newestOfEach(workers: readonly SeenWorker[]): Map<string, SeenWorker> {
  const newest = new Map<string, SeenWorker>();
  for (const worker of workers) {
    const other = newest.get(worker.sessionId);
    if (!other || other.epoch < worker.epoch) newest.set(worker.sessionId, worker);
  }
  return newest;
}
