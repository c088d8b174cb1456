import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Runs the engine's command line. */
type Docker = (args: string[]) => Promise<string>;

/** Enough for what the present sources are built from: packages, and the layers of our images. */
const BUILD_CACHE = '1200MB';
const REGISTRY_MEGABYTES = 400;

/** What was not used for longest goes, down to a size. */
export async function trimBuildCache(docker: Docker): Promise<void> {
  // It only costs room if it stays.
  await docker(['builder', 'prune', '-f', '--keep-storage', BUILD_CACHE]).catch(() => undefined);
}

/** All that a registry has kept, once it is too much: what is wanted is pushed again. */
export async function forgetLargeRegistry(dir: string): Promise<void> {
  const { stdout } = await run('du', ['-sm', dir]);
  if (Number.parseInt(stdout, 10) > REGISTRY_MEGABYTES) await rm(dir, { recursive: true, force: true });
}

/** On a node that has just got an image: those that it had under the same name before. */
export async function removeOlderImages({ docker }: { docker: Docker }, digest: string): Promise<void> {
  const [name = ''] = digest.split('@');
  const found = await docker(['images', '--digests', '--format', '{{.Repository}}@{{.Digest}}', name]);
  const old = found.split('\n').filter((each) => each !== '' && each !== digest && !each.endsWith('<none>'));
  if (old.length > 0) await docker(['rmi', ...old]).catch(() => undefined);
}
