import { setTimeout as sleep } from 'node:timers/promises';

/** Runs the engine's command line. */
type Docker = (args: string[], options?: { timeoutMs?: number }) => Promise<string>;

const BUILD_CACHE = '1500MB';
/** What remains after that waits for the next run. */
const TRIM_TIMEOUT_MS = 30_000;

/** What an earlier run or a red test has left; images and build cache stay. */
export async function removeAll(docker: Docker): Promise<void> {
  const ids = (await docker(['ps', '-aq'])).split('\n').filter(Boolean);
  // A container that is being removed already is no reason to stop.
  if (ids.length > 0) await docker(['rm', '-fv', ...ids]).catch(() => sleep(1000));
  await docker(['volume', 'prune', '-f']);
  await docker(['network', 'prune', '-f']);
}

/** Images that a newer one has taken the name of, and of the build cache what was not used for longest. */
export async function trimImages(docker: Docker): Promise<void> {
  // It only costs room if it stays.
  for (const args of [
    ['image', 'prune', '-f'],
    ['builder', 'prune', '-f', '--keep-storage', BUILD_CACHE],
  ]) {
    await docker(args, { timeoutMs: TRIM_TIMEOUT_MS }).catch(() => undefined);
  }
}
