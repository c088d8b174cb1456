import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { patient } from '../patience.ts';
import { removeOlderImages } from './cache-limits.ts';
import { CACHE_DIR, type SwarmNode, startNode } from './node.ts';
import { registryTrouble, startRegistry } from './registry.ts';
import { prepareNetwork } from './sandbox.ts';

const run = promisify(execFile);

/** Three machines: the first is the manager and runs no workers, the others do. */
export interface TestSwarm {
  readonly manager: SwarmNode;
  readonly nodes: readonly SwarmNode[];
  /** Those on which workers run. */
  readonly workers: readonly SwarmNode[];
  /** By the name that the engine has in the swarm. */
  node(name: string | null | undefined): SwarmNode;
  stop(): Promise<void>;
}

/**
 * @param images makes on the manager what is to be on every node
 * @returns once all have joined
 */
export async function startSwarm(images: (manager: SwarmNode) => Promise<string>): Promise<TestSwarm> {
  const nodes: SwarmNode[] = [];
  const release: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (let each = release.pop(); each; each = release.pop()) await each();
  };
  const start = async (number: number): Promise<SwarmNode> => {
    const node = await startNode(number, { makesImages: number === 1 });
    nodes.push(node);
    release.push(() => node.stop());
    return node;
  };
  try {
    const manager = await start(1);
    if (registryTrouble() === null) release.push(await startRegistry(join(CACHE_DIR, 'registry')));
    await prepareNetwork(manager);
    await manager.docker(['swarm', 'init', '--advertise-addr', manager.address]);
    // How soon a node that has fallen silent counts as down.
    await manager.docker(['swarm', 'update', '--dispatcher-heartbeat', '1s']);
    await manager.docker(['node', 'update', '--label-add', 'flotilla=no', manager.name]);
    const token = await manager.docker(['swarm', 'join-token', '-q', 'worker']);
    const image = await images(manager);
    for (const number of [2, 3]) {
      const node = await start(number);
      await giveImage(manager, node, image);
      await prepareNetwork(node);
      await node.docker(['swarm', 'join', '--token', token, `${manager.address}:2377`]);
    }
    return {
      manager,
      nodes,
      workers: nodes.slice(1),
      node(name) {
        const found = nodes.find((node) => node.name === name);
        if (!found) throw new Error(`there is no node ${name}`);
        return found;
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What is on one node, on another: by the registry if it is there, else by hand. */
export async function giveImage(from: SwarmNode, to: SwarmNode, image: string): Promise<void> {
  const digests = ['image', 'inspect', '-f', '{{range .RepoDigests}}{{.}} {{end}}', image];
  const [digest] = (await from.docker(digests)).split(' ').filter(Boolean);
  if (digest !== undefined) {
    await to.docker(['pull', '-q', digest], { timeoutMs: 300_000 });
    await removeOlderImages(to, digest);
    return;
  }
  const id = ['images', '-q', '--no-trunc', image];
  if ((await from.docker(id)) === (await to.docker(id).catch(() => ''))) return;
  const pipe = `set -o pipefail; /usr/bin/docker -H '${from.host}' save ${image} | /usr/bin/docker -H '${to.host}' load -q`;
  await run('bash', ['-c', pipe], { timeout: patient(300_000) });
}
