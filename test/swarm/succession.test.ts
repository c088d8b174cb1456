import { afterAll, beforeAll, describe } from 'vitest';
import { successorConformance } from '../conformance/successors.ts';
import { buildPlainImage, PLAIN_IMAGE } from '../docker/plain-image.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { endContainers, FLEET, newRuntime } from './sandbox.ts';
import { startSwarm, type TestSwarm } from './swarm.ts';

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(
  `successors on a swarm${trouble === null ? '' : `, skipped: ${trouble}`}`,
  () => {
    let swarm: TestSwarm;
    beforeAll(async () => {
      swarm = await startSwarm(async (manager) => {
        await buildPlainImage(manager);
        return PLAIN_IMAGE;
      });
    });
    afterAll(async () => {
      await swarm?.stop();
    });

    const containers = async (sessionId: string): Promise<string[]> => {
      const labels = [`label=flotilla.session=${sessionId}`, `label=flotilla.fleet=${FLEET}`];
      const filters = labels.flatMap((label) => ['--filter', label]);
      const format = '{{.Label "flotilla.epoch"}} {{.ID}}';
      const found = await Promise.all(
        swarm.workers.map(async ({ name, docker }) => {
          const lines = await docker(['ps', '--format', format, ...filters]);
          return lines
            .split('\n')
            .filter(Boolean)
            .map((line) => `${name} ${line}`);
        }),
      );
      return found.flat().sort();
    };

    successorConformance('swarm', async () => {
      const runtime = newRuntime(swarm.manager);
      await runtime.open();
      await runtime.list();
      const [here, there] = swarm.workers;
      return {
        runtime,
        nodes: [here?.name ?? '', there?.name ?? ''],
        running: containers,
        end: async () => {
          await Promise.all(swarm.workers.map((node) => endContainers(node)));
        },
        close: () => runtime.close({ graceMs: 500 }),
      };
    });
  },
  120_000,
);
