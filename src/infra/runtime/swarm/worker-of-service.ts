import type { WorkerExit } from '../../../domain/worker-exit.ts';
import type { ObservedWorker } from '../../../services/fleet/ports.ts';
import { LABEL, type Role } from '../docker/container-spec.ts';
import { PARKED_LABEL, SUCCESSOR_LABEL } from './service-spec.ts';
import type { ServiceFacts, TaskFacts } from './swarm-facts.ts';
import type { SwarmNodes } from './swarm-nodes.ts';

/** Before the container of a task runs. */
const BEFORE_START = new Set([
  'new',
  'allocated',
  'pending',
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
]);
const OVER = new Set(['complete', 'shutdown', 'failed', 'rejected', 'remove', 'orphaned', 'lost']);
/** A service gets its task at once; one that has none later had it taken out of the history. */
const TASK_WITHIN_MS = 10_000;
/** An orderly end, and the two signals of a stop. */
const ENDED_BY_US = new Set([0, 137, 143]);
/** Beyond 128 an exit code names the signal. */
const SIGNALS: Record<number, string> = { 134: 'SIGABRT', 137: 'SIGKILL', 139: 'SIGSEGV', 143: 'SIGTERM' };

/** The worker of a service, and the task whose log tells its last words; null when there is none. */
export interface ServiceWorker {
  worker: ObservedWorker;
  task: TaskFacts | null;
}

export const roleOf = ({ Spec: { Labels: labels } }: ServiceFacts): Role =>
  labels?.[SUCCESSOR_LABEL] === undefined ? 'worker' : 'successor';

/** Whether the container of a task may still run on a node that answers. */
export function mayRun(task: TaskFacts, nodes: SwarmNodes): boolean {
  return !OVER.has(task.Status.State) && !isCutOff(task, nodes) && !neverStarts(task);
}

/**
 * Says what has become of a service. A task on a node that is down counts as ended: if it does run on, beyond a
 * cut, its epoch is over as soon as the next worker starts.
 * @param nowMs by the clock of the managers
 */
export function workerOf(
  service: ServiceFacts,
  tasks: readonly TaskFacts[],
  nodes: SwarmNodes,
  nowMs: number,
): ServiceWorker {
  const labels = service.Spec.Labels ?? {};
  const identity = {
    sessionId: labels[LABEL.session] ?? '',
    epoch: Number(labels[LABEL.epoch]),
    generation: Number(labels[LABEL.generation]),
  };
  const isParked = labels[PARKED_LABEL] !== undefined;
  const real = tasks
    // The task of a service that was told to stop, and waits for a place that there is not.
    .filter((task) => !(isParked && (task.NodeID ?? '') === ''))
    .sort((a, b) => b.CreatedAt.localeCompare(a.CreatedAt));
  const task = real.find((each) => mayRun(each, nodes)) ?? real[0] ?? null;
  const sinceMs = Date.parse(task?.Status.Timestamp ?? service.CreatedAt);
  const ran = (untilMs: number, fromMs: number): number => Math.max(1, untilMs - fromMs) || 1;
  const node = task?.NodeID ? (nodes.get(task.NodeID)?.name ?? task.NodeID) : null;
  if (task ? mayRun(task, nodes) : !isParked && nowMs - sinceMs < TASK_WITHIN_MS) {
    return { task, worker: { ...identity, node, state: 'running', ranMs: ran(nowMs, sinceMs), exit: null } };
  }
  const ranMs = task ? ran(sinceMs, Date.parse(task.CreatedAt)) : 0;
  return { task, worker: { ...identity, node, state: 'exited', ranMs, exit: exitOf(task, node, nodes) } };
}

function exitOf(task: TaskFacts | null, node: string | null, nodes: SwarmNodes): WorkerExit {
  const unknown = { code: null, signal: null, lastLines: [] };
  if (!task) return { ...unknown, cause: 'Swarm has no task of it any more' };
  const { State: state, Err: error, ContainerStatus: container } = task.Status;
  const lost = (cause: string): WorkerExit => ({ ...unknown, cause, byNode: true });
  if (!OVER.has(state) && isCutOff(task, nodes)) return lost(`node ${node} is down`);
  if (state === 'orphaned' || state === 'lost') return lost(`node ${node} was lost`);
  if (!container?.ContainerID) return { ...unknown, cause: `the worker did not start: ${error ?? state}` };
  const code = container.ExitCode ?? 0;
  // Swarm does not tell why a task was ended; it ends everything on a node that it drains.
  const drained = nodes.get(task.NodeID ?? '')?.Spec?.Availability === 'drain' && ENDED_BY_US.has(code);
  if (drained) return { ...unknown, code, cause: `node ${node} is drained by Swarm`, byNode: true };
  const plain = error === undefined || /^task: non-zero exit \(\d+\)$/.test(error);
  return { code, signal: SIGNALS[code] ?? null, cause: plain ? null : error, lastLines: [] };
}

/** Whether it was given to a node that the managers do not hear. */
export const isCutOff = (task: TaskFacts, nodes: SwarmNodes): boolean =>
  (task.NodeID ?? '') !== '' && nodes.get(task.NodeID ?? '')?.Status.State !== 'ready';

/** Told to end before it was given to a node. */
const neverStarts = (task: TaskFacts): boolean =>
  (task.NodeID ?? '') === '' && (task.DesiredState === 'shutdown' || task.DesiredState === 'remove');

/** Whether a task is on its way to its first start, and has not got there. */
export const isBeforeStart = ({ Status: { State: state } }: TaskFacts): boolean => BEFORE_START.has(state);
