import { join } from 'node:path';
import { BASE_IMAGE } from '../helpers/docker-base-image.ts';
import type { TestEngine } from '../helpers/docker-engine.ts';

export const WORKER_IMAGE = 'flotilla-worker:latest';
export const ORCHESTRATOR_IMAGE = 'flotilla-orchestrator:latest';
export const REDIS_IMAGE = 'flotilla-test-redis:latest';

const ROOT = join(import.meta.dirname, '..', '..');

/** The images that the project ships, built as its users build them. Minutes at first, then what has changed. */
export async function buildOurImages({ docker }: Pick<TestEngine, 'docker'>): Promise<void> {
  for (const name of ['worker', 'orchestrator']) {
    await docker(['build', '-f', `docker/${name}.Dockerfile`, '-t', `flotilla-${name}:latest`, '.'], {
      cwd: ROOT,
      timeoutMs: 600_000,
    });
  }
}

/** In place of the published image of Redis: the same user, directory and programs. */
export async function buildRedisImage({ docker }: Pick<TestEngine, 'docker'>): Promise<void> {
  const lines = [
    `FROM ${BASE_IMAGE}`,
    'RUN apt-get update && apt-get install -y --no-install-recommends redis-server',
    'RUN install -d -o 999 -g 999 /data',
    'USER 999:999',
    'CMD ["redis-server"]',
  ];
  await docker(['build', '-q', '-t', REDIS_IMAGE, '-'], { input: `${lines.join('\n')}\n` });
}

/** In bytes. */
export async function imageSize({ docker }: Pick<TestEngine, 'docker'>, image: string): Promise<number> {
  return Number(await docker(['image', 'inspect', '-f', '{{.Size}}', image]));
}
