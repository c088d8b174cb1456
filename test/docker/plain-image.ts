import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BASE_IMAGE } from '../helpers/docker-base-image.ts';
import type { TestEngine } from '../helpers/docker-engine.ts';

export const PLAIN_IMAGE = 'flotilla-test-plain:latest';

/** An image whose worker is `test/fixtures/plain-worker.mjs`. */
export async function buildPlainImage({ docker }: Pick<TestEngine, 'docker'>): Promise<void> {
  const context = await mkdtemp(join(tmpdir(), 'flotilla-plain-'));
  try {
    await copyFile(
      join(import.meta.dirname, '..', 'fixtures', 'plain-worker.mjs'),
      join(context, 'plain-worker.mjs'),
    );
    const lines = [
      `FROM ${BASE_IMAGE}`,
      'COPY plain-worker.mjs /plain-worker.mjs',
      'USER node',
      'ENTRYPOINT ["node"]',
      'CMD ["/plain-worker.mjs"]',
    ];
    await writeFile(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
    await docker(['build', '-q', '-t', PLAIN_IMAGE, context]);
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}
