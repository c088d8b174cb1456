import { describe } from 'vitest';
import { DockerRuntime } from '../../src/infra/runtime/docker/docker-runtime.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import { runtimeConformance } from '../conformance/runtime.ts';
import { engineTrouble, startEngine } from '../helpers/docker-engine.ts';
import { buildPlainImage, PLAIN_IMAGE } from './plain-image.ts';

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(`docker${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  runtimeConformance('docker', async () => {
    const engine = await startEngine();
    await buildPlainImage(engine);
    const runtime = new DockerRuntime({
      hosts: [{ name: 'local', address: engine.host, tlsDir: null, capacity: 100 }],
      fleetId: 'conf',
      image: PLAIN_IMAGE,
      clock: systemClock,
      log: silentLogger,
    });
    await runtime.open();
    return {
      runtime,
      // The engine's own kill would tell it that the end was wanted.
      crash: async (sessionId) => {
        const pid = await engine.docker(['inspect', '-f', '{{.State.Pid}}', `flotilla-conf-${sessionId}`]);
        process.kill(Number(pid), 'SIGKILL');
      },
      close: async () => {
        await runtime.close({ graceMs: 500 });
        await engine.stop();
      },
    };
  });
});
