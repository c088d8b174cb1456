import { join } from 'node:path';
import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';
import type {
  ImageSource,
  LogSource,
  NodeSource,
  OwnWorkersOnly,
  RuntimeLifecycle,
  StatsSource,
  SuccessorSource,
  WorkerRuntime,
} from '../../services/fleet/ports.ts';
import { DockerRuntime } from './docker/docker-runtime.ts';
import type { DockerHost } from './docker/hosts.ts';
import { ProcessRuntime } from './process-runtime.ts';
import { SwarmRuntime } from './swarm/swarm-runtime.ts';

export interface RuntimeSettings {
  dataDir: string;
  clock: Clock;
  log: Logger;
  /** For the process runtime; its own worker by default. */
  workerEntry?: string;
  /** For the process runtime: workers go on without us, until the process that follows us adopts them. */
  workersOutlive?: boolean;
  /** For the Docker runtime. */
  docker?: { hosts: DockerHost[]; image: string; fleetId: string; startsAtOnce?: number };
}

/** A runtime with whatever it can do beyond the port. */
export type AnyRuntime = WorkerRuntime &
  RuntimeLifecycle &
  Partial<LogSource> &
  Partial<ImageSource> &
  Partial<StatsSource> &
  Partial<NodeSource> &
  Partial<SuccessorSource> &
  Partial<OwnWorkersOnly> & { removeLogs?(sessionId: string): Promise<void> };

const RUNTIMES: Record<string, (settings: RuntimeSettings) => AnyRuntime> = {
  process: ({ workersOutlive = false, ...settings }) =>
    new ProcessRuntime({ ...settings, tie: workersOutlive ? 'warden' : 'kernel' }),
  docker: ({ docker, dataDir, clock, log }) => {
    if (!docker) throw new RuntimeNotInBuildError('WORKER_RUNTIME=docker needs DOCKER_HOSTS.');
    return new DockerRuntime({ ...docker, logDir: join(dataDir, 'logs'), clock, log });
  },
  swarm: ({ docker, dataDir, clock, log }) => {
    if (!docker) throw new RuntimeNotInBuildError('WORKER_RUNTIME=swarm needs DOCKER_HOSTS.');
    const { hosts: managers, image, fleetId } = docker;
    return new SwarmRuntime({ managers, image, fleetId, logDir: join(dataDir, 'logs'), clock, log });
  },
};

/** Its message is for a person, and complete. */
export class RuntimeNotInBuildError extends Error {
  override readonly name = 'RuntimeNotInBuildError';
}

/** @throws RuntimeNotInBuildError with one line that names the variable */
export function createRuntime(name: string, settings: RuntimeSettings): AnyRuntime {
  const create = RUNTIMES[name];
  if (!create) {
    const known = Object.keys(RUNTIMES).join(', ');
    throw new RuntimeNotInBuildError(`WORKER_RUNTIME=${name} is not in this build; it has: ${known}.`);
  }
  return create(settings);
}
