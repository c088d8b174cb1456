import { unavailable } from '../../../kernel/errors.ts';
import type { WorkerStats } from '../../../services/fleet/ports.ts';
import { containerStats } from '../docker/container-stats.ts';
import type { SwarmManagers } from './managers.ts';
import type { TaskFacts } from './swarm-facts.ts';

/**
 * Swarm passes no statistics on: they come from the engine that the worker runs on, if that one is among ours.
 * @throws FlotillaError `stats_unavailable`
 */
export async function workerStats(
  managers: SwarmManagers,
  task: TaskFacts,
  node: string,
): Promise<WorkerStats | null> {
  const { ContainerID: id } = task.Status.ContainerStatus ?? {};
  const engine = await managers.engineOn(task.NodeID ?? '');
  if (!engine || !id) {
    throw unavailable('stats_unavailable', `No engine of DOCKER_HOSTS runs on the node ${node}.`);
  }
  return await containerStats(engine.getContainer(id));
}
