import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * What a run tests is a copy: an edit meanwhile must not reach the processes that are started again, and a copy may
 * be broken on purpose.
 * @returns its folder, within the project so that the packages are found
 */
export async function copySources(root: string): Promise<string> {
  const copy = join(root, '.cache', 'chaos', String(process.pid));
  await rm(copy, { recursive: true, force: true });
  await mkdir(copy, { recursive: true });
  for (const part of ['src', 'test/chaos', 'test/helpers', 'package.json']) {
    await cp(join(root, part), join(copy, part), { recursive: true });
  }
  return copy;
}
