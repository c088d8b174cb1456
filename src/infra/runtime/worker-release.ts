import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FlotillaError, invalid } from '../../kernel/errors.ts';

/** The program that came with the orchestrator. */
export const BUILT_IN = 'built-in';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** Where a checkout and a build of the project, and a worker of somebody's own, have their program. */
const PROGRAMS = [
  ['dist', 'worker', 'main.js'],
  ['src', 'worker', 'main.ts'],
  ['worker', 'main.js'],
  ['main.mjs'],
];

/** @throws FlotillaError 400 `invalid_image` */
export function checkRelease(image: string): void {
  if (NAME.test(image)) return;
  throw invalid(
    'invalid_image',
    `WORKER_RUNTIME=process runs workers from ${BUILT_IN}, or from a directory of this name below DATA_DIR/releases; ${image} is no such name.`,
  );
}

/**
 * What the process runtime takes for an image: a directory below `releases/` of the data directory, with another
 * version of the project in it. Only there, so that whoever holds the API key cannot name any program.
 * @returns the path of its worker's program
 * @throws FlotillaError 400 `invalid_image`, 503 `image_missing`, with the rule
 */
export function workerProgram(
  { dataDir, workerEntry }: { dataDir: string; workerEntry?: string },
  image: string = BUILT_IN,
): string {
  checkRelease(image);
  if (image === BUILT_IN) return workerEntry ?? beside();
  const directory = join(dataDir, 'releases', image);
  const found = PROGRAMS.map((path) => join(directory, ...path)).find(isReadable);
  if (found !== undefined) return found;
  throw new FlotillaError(
    'unavailable',
    'image_missing',
    `There is no worker in ${directory}: put a checkout or a build of the project there (dist/worker/main.js), with its packages.`,
  );
}

/** Beside us, in the same form as we: sources or built. */
function beside(): string {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fileURLToPath(new URL(`../../worker/main.${extension}`, import.meta.url));
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
