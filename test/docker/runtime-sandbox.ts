import { DockerRuntime, type DockerRuntimeOptions } from '../../src/infra/runtime/docker/docker-runtime.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { silentLogger } from '../../src/kernel/log.ts';
import type { ObservedWorker, WorkerSpec } from '../../src/services/fleet/ports.ts';
import type { TestEngine } from '../helpers/docker-engine.ts';
import { eventually } from '../helpers/fleet-sandbox.ts';
import { PLAIN_IMAGE } from './plain-image.ts';

export const FLEET = 'test';

export const newRuntime = (engine: TestEngine, over: Partial<DockerRuntimeOptions> = {}): DockerRuntime =>
  new DockerRuntime({
    hosts: [{ name: 'local', address: engine.host, tlsDir: null, capacity: 100 }],
    fleetId: FLEET,
    image: PLAIN_IMAGE,
    clock: systemClock,
    log: silentLogger,
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

/** Until the worker has ended. */
export async function endOf(runtime: DockerRuntime, sessionId: string): Promise<ObservedWorker> {
  let found: ObservedWorker | undefined;
  await eventually(async () => {
    found = (await runtime.list()).find((worker) => worker.sessionId === sessionId);
    return found?.state === 'exited';
  }, 20_000);
  return found as ObservedWorker;
}

/** What the engine holds of the fleet, by kind; empty when nothing is left over. */
export async function leftovers({ docker }: TestEngine): Promise<string> {
  const filter = ['--filter', `label=flotilla.fleet=${FLEET}`];
  const found = await Promise.all([
    docker(['ps', '-aq', ...filter]),
    docker(['volume', 'ls', '-q', ...filter]),
    docker(['network', 'ls', '-q', ...filter]),
  ]);
  return found.join('');
}
