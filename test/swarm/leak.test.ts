import Docker from 'dockerode';
import { describe } from 'vitest';
import { type LeakSubject, leakTest } from '../conformance/leaks.ts';
import { prepareOrchestrator } from '../docker/orchestrator-process.ts';
import { buildLightImage } from '../docker/plain-image.ts';
import { crashContainer } from '../helpers/crash-container.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { GATEWAY } from './network.ts';
import type { SwarmNode } from './node.ts';
import { networksOf, startManager } from './sandbox.ts';

const FLEET = 'swarmleak';

const trouble = engineTrouble();

async function start(): Promise<LeakSubject> {
  const node = await startManager();
  try {
    return await startFleet(node);
  } catch (error) {
    await node.stop();
    throw error;
  }
}

async function startFleet(node: SwarmNode): Promise<LeakSubject> {
  await buildLightImage(node);
  const docker = new Docker({ socketPath: node.host.slice('unix://'.length) });
  const fleet = await prepareOrchestrator({
    hosts: `${node.name}=${node.host}`,
    fleetId: FLEET,
    gateway: GATEWAY,
    env: { WORKER_RUNTIME: 'swarm' },
  });
  await fleet.start();
  const label = [`flotilla.fleet=${FLEET}`];
  return {
    fleet,
    crash: (id) => crashContainer(docker, [...label, `flotilla.session=${id}`]),
    held: async () => ({
      services: (await docker.listServices({ filters: { label } })).length,
      tasks: (await docker.listTasks({ filters: JSON.stringify({ label }) })).length,
      containers: (await docker.listContainers({ all: true, filters: { label } })).length,
      // Of everybody: nothing else uses this swarm.
      secrets: (await docker.listSecrets()).length,
      configs: (await docker.listConfigs()).length,
      volumes: (await docker.listVolumes()).Volumes.length,
      networks: (await networksOf(node, FLEET)).split('\n').filter(Boolean).length,
    }),
    heldBy: (sessions) => ({
      services: sessions,
      tasks: sessions,
      containers: sessions,
      // One for its token and one for its proxy.
      secrets: 2 * sessions,
      configs: 0,
      volumes: 0,
      networks: Math.min(1, sessions),
    }),
    async stop() {
      await fleet.stop();
      await node.stop();
    },
  };
}

describe.skipIf(trouble !== null)(`swarm${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  leakTest('leaks', { cycles: 40, lanes: 5, kills: 4, start });
});
