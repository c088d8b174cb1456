import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BASE_IMAGE } from '../helpers/docker-base-image.ts';
import type { TestEngine } from '../helpers/docker-engine.ts';

export const PLAIN_IMAGE = 'flotilla-test-plain:latest';
export const LIGHT_IMAGE = 'flotilla-test-light:latest';

/** An image whose worker is `test/fixtures/plain-worker.mjs`. */
export const buildPlainImage = (engine: Pick<TestEngine, 'docker'>): Promise<void> =>
  buildScriptImage(engine, PLAIN_IMAGE, join(import.meta.dirname, '..', 'fixtures', 'plain-worker.mjs'));

/** An image whose worker is `light-worker.mjs`. */
export const buildLightImage = (engine: Pick<TestEngine, 'docker'>): Promise<void> =>
  buildScriptImage(engine, LIGHT_IMAGE, join(import.meta.dirname, 'light-worker.mjs'));

async function buildScriptImage({ docker }: Pick<TestEngine, 'docker'>, tag: string, script: string) {
  const context = await mkdtemp(join(tmpdir(), 'flotilla-image-'));
  try {
    await copyFile(script, join(context, 'worker.mjs'));
    const lines = [
      `FROM ${BASE_IMAGE}`,
      'COPY worker.mjs /worker.mjs',
      'USER node',
      'ENTRYPOINT ["node"]',
      'CMD ["/worker.mjs"]',
    ];
    await writeFile(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
    await docker(['build', '-q', '-t', tag, context]);
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}
