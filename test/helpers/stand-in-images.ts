import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BASE_IMAGE } from './docker-base-image.ts';
import type { TestEngine } from './docker-engine.ts';
import { WORKER_ENTRY } from './fleet-sandbox.ts';

/** What a fleet begins with, a release that is as good, and one whose worker connects, and ends soon after. */
export const STAND_IN = {
  old: 'flotilla-test-stand-in:1',
  good: 'flotilla-test-stand-in:2',
  bad: 'flotilla-test-stand-in:3',
} as const;

/** The stand-in worker as images that differ in their names, and so in their ids. */
export async function buildStandInImages({ docker }: Pick<TestEngine, 'docker'>): Promise<void> {
  const context = await mkdtemp(join(tmpdir(), 'flotilla-stand-in-'));
  try {
    await copyFile(WORKER_ENTRY, join(context, 'worker.mjs'));
    const bad = "setTimeout(() => process.exit(1), 1500);\nawait import('/worker.mjs');\n";
    await writeFile(join(context, 'bad.mjs'), bad);
    for (const tag of Object.values(STAND_IN)) {
      const lines = [
        `FROM ${BASE_IMAGE}`,
        'COPY *.mjs /',
        'USER node',
        'ENTRYPOINT ["node"]',
        `CMD ["${tag === STAND_IN.bad ? '/bad.mjs' : '/worker.mjs'}"]`,
        `LABEL tag="${tag}"`,
      ];
      await writeFile(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
      await docker(['build', '-q', '-t', tag, context]);
    }
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}
