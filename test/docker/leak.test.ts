import Docker from 'dockerode';
import { describe } from 'vitest';
import { type LeakSubject, leakTest } from '../conformance/leaks.ts';
import { crashContainer } from '../helpers/crash-container.ts';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { prepareOrchestrator } from './orchestrator-process.ts';
import { buildLightImage } from './plain-image.ts';

/** With fewer the test is quick, and finds less. */
const CYCLES = Number(process.env.LEAK_CYCLES ?? 200);
const FLEET = 'leak';

const trouble = engineTrouble();

async function start(): Promise<LeakSubject> {
  // Not the first: it takes minutes, and the other tests go on beside it.
  const engine = await startEngine({ number: 4, makesImages: true });
  try {
    return await startFleet(engine);
  } catch (error) {
    await engine.stop();
    throw error;
  }
}

async function startFleet(engine: TestEngine): Promise<LeakSubject> {
  await buildLightImage(engine);
  const docker = new Docker({ socketPath: engine.host.slice('unix://'.length) });
  const fleet = await prepareOrchestrator({
    hosts: `local=${engine.host}`,
    fleetId: FLEET,
    gateway: engine.gateway,
  });
  await fleet.start();
  const label = [`flotilla.fleet=${FLEET}`];
  return {
    fleet,
    crash: (id) => crashContainer(docker, [...label, `flotilla.session=${id}`]),
    // Of everybody: nothing else uses this engine. The files of secrets are in a volume of their container's.
    held: async () => ({
      containers: (await docker.listContainers({ all: true })).length,
      running: (await docker.listContainers({ filters: { label } })).length,
      volumes: (await docker.listVolumes()).Volumes.length,
      networks: (await docker.listNetworks({ filters: { label } })).length,
    }),
    heldBy: (sessions) => ({
      containers: sessions,
      running: sessions,
      volumes: sessions,
      networks: Math.min(1, sessions),
    }),
    async stop() {
      await fleet.stop();
      await engine.stop();
    },
  };
}

describe.skipIf(trouble !== null)(`docker${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  leakTest('leaks', { cycles: CYCLES, lanes: 10, kills: Math.ceil(CYCLES * 0.06), start });
});
