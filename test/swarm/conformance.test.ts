import { describe } from 'vitest';
import { runtimeConformance } from '../conformance/runtime.ts';
import { engineTrouble } from '../helpers/docker-engine.ts';
import { endContainers, FLEET, newRuntime, startManager } from './sandbox.ts';

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(`swarm${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  runtimeConformance('swarm', async () => {
    const node = await startManager();
    const runtime = newRuntime(node);
    await runtime.open();
    return {
      runtime,
      // The engine's own kill would tell it that the end was wanted.
      crash: async (sessionId) => {
        const labels = [`label=flotilla.session=${sessionId}`, `label=flotilla.fleet=${FLEET}`];
        const id = await node.docker(['ps', '-q', ...labels.flatMap((label) => ['--filter', label])]);
        process.kill(Number(await node.docker(['inspect', '-f', '{{.State.Pid}}', id])), 'SIGKILL');
      },
      end: () => endContainers(node),
      close: async () => {
        await runtime.close({ graceMs: 500 });
        await node.stop();
      },
    };
  });
});
