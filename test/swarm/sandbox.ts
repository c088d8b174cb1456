import { NODE_NETWORK } from '../../src/infra/runtime/swarm/fleet-network.ts';
import { SwarmRuntime, type SwarmRuntimeOptions } from '../../src/infra/runtime/swarm/swarm-runtime.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import type { ObservedWorker, WorkerSpec } from '../../src/services/fleet/ports.ts';
import { buildPlainImage, PLAIN_IMAGE } from '../docker/plain-image.ts';
import { type SwarmNode, startNode } from './node.ts';

export const FLEET = 'swarmtest';

/** One engine that is a swarm by itself. */
export async function startManager(): Promise<SwarmNode> {
  const node = await startNode(1);
  try {
    await buildPlainImage(node);
    await prepareNetwork(node);
    await node.docker(['swarm', 'init', '--advertise-addr', node.address]);
    return node;
  } catch (error) {
    await node.stop();
    throw error;
  }
}

/** What an operator does on each node. */
export async function prepareNetwork({ docker }: SwarmNode): Promise<void> {
  const alone = ['-o', 'com.docker.network.bridge.enable_icc=false'];
  // No prune takes it away.
  await docker(['network', 'rm', NODE_NETWORK]).catch(() => undefined);
  await docker(['network', 'create', '--config-only', ...alone, NODE_NETWORK]);
}

export const newRuntime = (node: SwarmNode, over: Partial<SwarmRuntimeOptions> = {}): SwarmRuntime =>
  new SwarmRuntime({
    managers: [{ name: node.name, address: node.host, tlsDir: null, capacity: 100 }],
    fleetId: FLEET,
    image: PLAIN_IMAGE,
    clock: systemClock,
    log: silentLogger,
    stopGraceMs: 1000,
    placedWithinMs: 3000,
    ...over,
  });

export const spec = (sessionId: string, behaviour: string, over: Partial<WorkerSpec> = {}): WorkerSpec => ({
  sessionId,
  epoch: 1,
  generation: 1,
  env: { PLAIN: behaviour },
  secrets: { SECRET: 'tell nobody' },
  resources: null,
  ...over,
});

export const find = async (runtime: SwarmRuntime, sessionId: string): Promise<ObservedWorker | undefined> =>
  (await runtime.list()).find((worker) => worker.sessionId === sessionId);

/** Ends what runs for the fleet at once. Swarm waits two seconds before it tells a container to end, for its networks' sake. */
export async function endContainers({ docker }: Pick<SwarmNode, 'docker'>): Promise<void> {
  const ids = await docker(['ps', '-q', '--filter', `label=flotilla.fleet=${FLEET}`]);
  // One that has ended meanwhile is what was wanted.
  if (ids !== '') await docker(['kill', ...ids.split('\n')]).catch(() => undefined);
}

/** A fleet's networks, one a line. The filter of Swarm's networks for names knows whole names only. */
export async function networksOf({ docker }: Pick<SwarmNode, 'docker'>, fleetId: string): Promise<string> {
  const all = await docker(['network', 'ls', '--filter', 'scope=swarm', '--format', '{{.Name}} {{.ID}}']);
  return all
    .split('\n')
    .filter((line) => line.startsWith(`flotilla-${fleetId}-workers`))
    .join('\n');
}

/** What the swarm holds of the fleet; empty when nothing is left over. */
export async function leftovers({ docker }: SwarmNode): Promise<string> {
  const filter = ['-q', '--filter', `label=flotilla.fleet=${FLEET}`];
  const found = await Promise.all([
    docker(['service', 'ls', ...filter]),
    docker(['secret', 'ls', ...filter]),
    networksOf({ docker }, FLEET),
    docker(['ps', '-aq', '--filter', `label=flotilla.fleet=${FLEET}`]),
  ]);
  return found.join('');
}

/** What a red test has left of the fleet, so that its repetition begins without it. */
export async function removeLeftovers(node: SwarmNode): Promise<void> {
  const filter = ['-q', '--filter', `label=flotilla.fleet=${FLEET}`];
  const idsOf = async (...list: string[]): Promise<string[]> =>
    (await node.docker([...list, ...filter])).split('\n').filter(Boolean);
  const services = await idsOf('service', 'ls');
  if (services.length > 0) await node.docker(['service', 'rm', ...services]);
  await endContainers(node);
  const secrets = await idsOf('secret', 'ls');
  if (secrets.length > 0) await node.docker(['secret', 'rm', ...secrets]);
  for (const line of (await networksOf(node, FLEET)).split('\n').filter(Boolean)) {
    await node.docker(['network', 'rm', line.split(' ')[1] ?? '']).catch(() => undefined);
  }
}
