import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { patient } from '../patience.ts';
import { forgetLargeRegistry } from './cache-limits.ts';
import { GATEWAY } from './network.ts';

/** Debian's package of the same name. */
const PROGRAM = '/usr/bin/docker-registry';
/** Where every node finds images. */
export const REGISTRY = `${GATEWAY}:5000`;
const READY_TIMEOUT_MS = 15_000;

/** Why there can be no registry of images here; null if there can. */
export function registryTrouble(): string | null {
  try {
    accessSync(PROGRAM, constants.X_OK);
    return null;
  } catch {
    return `${PROGRAM} missing: apt-get install --no-install-recommends docker-registry`;
  }
}

/**
 * A registry that the nodes of a test pull from, once the bridge is there.
 * @param dir keeps what was pushed
 * @returns ends it
 */
export async function startRegistry(dir: string): Promise<() => Promise<void>> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await forgetLargeRegistry(dir);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const config = join(dir, 'config.yml');
  const lines = [
    'version: 0.1',
    'log: { level: error, accesslog: { disabled: true } }',
    `storage: { filesystem: { rootdirectory: ${JSON.stringify(dir)} } }`,
    `http: { addr: "${REGISTRY}" }`,
  ];
  await writeFile(config, `${lines.join('\n')}\n`);
  // It ends with the tests, however they end.
  const tied = ['--pdeathsig', 'TERM', PROGRAM, 'serve', config];
  const child = spawn('/usr/bin/setpriv', tied, { stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await exited;
  };
  const deadline = performance.now() + patient(READY_TIMEOUT_MS);
  while (performance.now() < deadline && child.exitCode === null) {
    const answer = await fetch(`http://${REGISTRY}/v2/`, { signal: AbortSignal.timeout(1000) }).catch(
      () => null,
    );
    if (answer?.ok) return stop;
    await sleep(50);
  }
  await stop();
  throw new Error('the registry of images did not start');
}
