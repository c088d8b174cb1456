import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { engineTrouble, startEngine, type TestEngine } from '../helpers/docker-engine.ts';
import { removeAll } from '../helpers/engine-contents.ts';
import { patient } from '../patience.ts';
import { buildOurImages, WORKER_IMAGE } from './our-images.ts';

const run = promisify(execFile);
const DEMO = join(import.meta.dirname, '..', '..', 'demo', 'main.ts');

const trouble = engineTrouble();

describe.skipIf(trouble !== null)(`a fleet${trouble === null ? '' : `, skipped: ${trouble}`}`, () => {
  let engine: TestEngine;
  beforeAll(async () => {
    engine = await startEngine();
    await buildOurImages(engine);
  });
  // Also what a demo has left that did not come to its end.
  afterEach(() => removeAll(engine.docker));
  afterAll(async () => {
    await engine?.stop();
  });

  test('the demo delivers in containers, and leaves nothing behind', {
    timeout: patient(270_000),
  }, async () => {
    const { stdout, stderr } = await run(
      process.execPath,
      [DEMO, '--runtime', 'docker', '--host', engine.gateway],
      {
        env: { ...process.env, DOCKER_HOSTS: `local=${engine.host}`, WORKER_IMAGE },
        timeout: patient(240_000),
      },
    );
    process.stdout.write(
      `${stdout.match(/paired and connected in .*/)?.[0]}; ${stdout.trim().split('\n').at(-1)}\n`,
    );
    expect(stdout).toContain('300/300 delivered, 0 duplicates, no proxy above 4');
    expect(await engine.docker(['ps', '-aq'])).toBe('');
    expect(await engine.docker(['volume', 'ls', '-q'])).toBe('');
    expect(await engine.docker(['network', 'ls', '-q', '--filter', 'label=flotilla.fleet']), stderr).toBe('');
  });
});
