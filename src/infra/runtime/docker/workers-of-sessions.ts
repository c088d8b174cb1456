import type { ObservedWorker } from '../../../services/fleet/ports.ts';
import type { Role } from './container-spec.ts';

type Listed = ObservedWorker & { role: Role; containerId?: string };

/**
 * One worker for each session out of all that the engines show. A session is on one host; on two only while an old
 * worker is being taken away, and then the newer one counts. A successor stands beside the worker that it is to
 * follow, and for itself when there is none.
 * @returns `replaced`: older ones that nobody else would take away
 */
export function workersOfSessions<T extends Listed>(
  seen: readonly T[],
): {
  workers: ObservedWorker[];
  replaced: T[];
} {
  const present = newestOfEach(seen.filter(({ role }) => role === 'worker'));
  const successors = newestOfEach(seen.filter(({ role }) => role === 'successor'));
  const workers = new Map([...successors, ...present].map(([id, worker]) => [id, observed(worker)]));
  for (const [sessionId, { epoch, unknown }] of successors) {
    const worker = workers.get(sessionId);
    if (worker && present.has(sessionId) && unknown === undefined) worker.successor = epoch;
  }
  const replaced = seen.filter(
    (each) => each.role === 'worker' && present.get(each.sessionId) !== each && each.unknown === undefined,
  );
  return { workers: [...workers.values()], replaced };
}

/** Without what is for the runtime alone. */
function observed({ role: _, containerId: __, ...worker }: Listed): ObservedWorker {
  return worker;
}

function newestOfEach<T extends Listed>(workers: readonly T[]): Map<string, T> {
  const newest = new Map<string, T>();
  for (const worker of workers) {
    const other = newest.get(worker.sessionId);
    if (!other || other.epoch < worker.epoch) newest.set(worker.sessionId, worker);
  }
  return newest;
}
