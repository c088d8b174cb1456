import { readFileSync } from 'node:fs';
import Docker from 'dockerode';
import {
  containerOptions,
  SECRETS_DIR,
  secretFiles,
  WORKER_USER,
} from '../../src/infra/runtime/docker/container-spec.ts';
import { tarOf } from '../../src/infra/runtime/docker/secret-files.ts';
import { PLAIN_IMAGE } from '../docker/plain-image.ts';
import { spec } from '../docker/runtime-sandbox.ts';
import type { TestEngine } from '../helpers/docker-engine.ts';

/** The calls to an engine that a worker's container cannot do without, and no runtime around them. */
export interface BareContainers {
  /** Makes the container of a number, with its secrets, and starts it. */
  start(n: number): Promise<void>;
  /** Ends it in order, removes it, and starts another in its place. */
  replace(n: number): Promise<void>;
  /** Removes every container of the engine. */
  clear(): Promise<void>;
  /** With its network. */
  close(): Promise<void>;
}

const STOP_SECONDS = 10;

export async function bareContainers(engine: TestEngine): Promise<BareContainers> {
  const docker = new Docker({ socketPath: engine.host.slice('unix://'.length) });
  const network = await docker.createNetwork({ Name: 'bench' });
  const optionsOf = (n: number) =>
    containerOptions(spec(`bench-${n}`, 'wait'), {
      fleetId: 'bare',
      image: PLAIN_IMAGE,
      network: network.id,
    });
  const start = async (n: number): Promise<void> => {
    const container = await docker.createContainer(optionsOf(n));
    const files = secretFiles(spec(`bench-${n}`, 'wait'), (path) => readFileSync(path));
    await container.putArchive(tarOf(files, WORKER_USER), { path: SECRETS_DIR });
    await container.start();
  };
  const clear = async (): Promise<void> => {
    const all = await docker.listContainers({ all: true });
    for (const { Id: id } of all) await docker.getContainer(id).remove({ force: true, v: true });
  };
  return {
    start,
    async replace(n) {
      const old = docker.getContainer(optionsOf(n).name ?? '');
      await old.stop({ t: STOP_SECONDS });
      await old.remove({ v: true });
      await start(n);
    },
    clear,
    async close() {
      await clear();
      await network.remove();
    },
  };
}

/** Does it for each number up to this one, so many at a time. @returns how many a second */
export async function perSecond(
  count: number,
  atOnce: number,
  each: (n: number) => Promise<unknown>,
): Promise<number> {
  const begun = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await each(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return count / ((performance.now() - begun) / 1000);
}
