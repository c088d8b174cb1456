import { afterAll, beforeAll, describe, vi } from 'vitest';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { fencingTests } from './fencing.ts';
import { type SwarmFleet, startSwarmFleet } from './fleet.ts';
import { nodeTests } from './node-api.ts';
import { startSwarm, type TestSwarm } from './swarm.ts';
import { buildWorkerImage } from './worker-image.ts';

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(
  `a fleet on nodes${trouble === null ? '' : `, skipped: ${trouble}`}`,
  () => {
    let swarm: TestSwarm;
    let fleet: SwarmFleet;
    beforeAll(async () => {
      // libsignal prints the keys of the simulated recipients.
      vi.spyOn(console, 'info').mockReturnValue(undefined);
      vi.spyOn(console, 'warn').mockReturnValue(undefined);
      let image = '';
      swarm = await startSwarm(async (manager) => {
        image = await buildWorkerImage(manager);
        return image;
      });
      fleet = await startSwarmFleet(swarm, { image, sessions: 3 });
    });
    afterAll(async () => {
      await fleet?.stop();
      await swarm?.stop();
    });
    const given = () => ({ swarm, fleet });

    describe('nodes by the API', () => nodeTests(given));
    describe('nodes that fail', () => fencingTests(given));
  },
);
