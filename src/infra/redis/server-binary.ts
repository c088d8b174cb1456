import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where a Redis server can be taken from, and how it is called. */
export type ServerCommand =
  | { kind: 'installed'; file: string; description: string }
  | { kind: 'unpacked'; file: string; libraryPath: string; description: string }
  | {
      kind: 'docker';
      file: string;
      /** Arguments of `docker` up to and including the image, for a data directory and a loopback port. */
      runArguments: (dir: string, port: number) => string[];
      description: string;
    };

const SERVER_NAMES = ['redis-server', 'valkey-server'];

/** The first of `names` that can be executed from one of the directories of `searchPath` (as in `PATH`). */
export function findOnPath(names: readonly string[], searchPath: string): string | undefined {
  const directories = searchPath.split(delimiter).filter((directory) => directory !== '');
  for (const name of names) {
    for (const directory of directories) {
      const file = join(directory, name);
      if (isExecutable(file)) return file;
    }
  }
  return undefined;
}

/** `redis-server` or `valkey-server` on the search path. */
export function findInstalledServer(searchPath: string): ServerCommand | undefined {
  const file = findOnPath(SERVER_NAMES, searchPath);
  return file === undefined ? undefined : { kind: 'installed', file, description: file };
}

/** Name of the file in the unpacked tree that says it is complete, and which server is in it. */
export const UNPACKED_STAMP = 'complete.json';

/** Where the unpacked package of Debian lives. */
export const unpackedRoot = (cacheDir: string): string => join(cacheDir, 'redis');

/** The server that was unpacked under the cache directory by an earlier start. */
export function findUnpackedServer(cacheDir: string): ServerCommand | undefined {
  const root = unpackedRoot(cacheDir);
  const stamp = join(root, UNPACKED_STAMP);
  if (!existsSync(stamp)) return undefined;
  const { file, libraries } = JSON.parse(readFileSync(stamp, 'utf8')) as {
    file: string;
    libraries: string[];
  };
  const binary = join(root, file);
  if (!isExecutable(binary)) return undefined;
  const libraryPath = libraries.map((directory) => join(root, directory)).join(delimiter);
  return {
    kind: 'unpacked',
    file: binary,
    libraryPath,
    description: `${binary} (Debian's package, unpacked)`,
  };
}

/** What is on this machine already; nothing is downloaded. */
export function findServer(searchPath: string, cacheDir: string): ServerCommand | undefined {
  return findInstalledServer(searchPath) ?? findUnpackedServer(cacheDir);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false; // not there, or not for us: either way not a server that we can start
  }
}
