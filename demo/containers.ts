import { randomBytes } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { DockerRuntime } from '../src/infra/runtime/docker/docker-runtime.ts';
import { DEFAULT_DOCKER_HOSTS, parseDockerHosts } from '../src/infra/runtime/docker/hosts.ts';
import { systemClock } from '../src/kernel/clock.ts';
import { silentLogger } from '../src/kernel/log.ts';

/** What a demo in containers needs beyond one in processes. */
export interface Containers {
  /** An address of this machine that containers reach. */
  host: string;
  /** For the orchestrator. */
  env: Record<string, string>;
  /** Takes away the workers, which would outlive the orchestrator. */
  removeAll(): Promise<void>;
}

const BRIDGE = 'docker0';
const say = (line: string): void => void process.stderr.write(`${line}\n`);

/**
 * Workers on the engines of DOCKER_HOSTS, from the image WORKER_IMAGE, as a fleet of their own.
 * @throws Error with one line for the terminal
 */
export function demoContainers(host: string | null, env: NodeJS.ProcessEnv): Containers {
  const address = host ?? networkInterfaces()[BRIDGE]?.find(({ family }) => family === 'IPv4')?.address;
  if (!address) {
    throw new Error(`There is no ${BRIDGE} here: name an address that containers reach with --host.`);
  }
  const hosts = env.DOCKER_HOSTS || DEFAULT_DOCKER_HOSTS;
  const image = env.WORKER_IMAGE || 'flotilla-worker:latest';
  const fleetId = `demo-${randomBytes(4).toString('hex')}`;
  return {
    host: address,
    env: { HOST: address, FLEET_ID: fleetId, DOCKER_HOSTS: hosts, WORKER_IMAGE: image },
    async removeAll() {
      const runtime = new DockerRuntime({
        hosts: parseDockerHosts(hosts),
        fleetId,
        image,
        clock: systemClock,
        log: { ...silentLogger, warn: (facts, message) => say(`${message}: ${JSON.stringify(facts)}`) },
      });
      await Promise.all((await runtime.list()).map(({ sessionId }) => runtime.remove(sessionId)));
      await runtime.close({ graceMs: 0 });
    },
  };
}
