import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { findOnPath, findServer, type ServerCommand } from './server-binary.ts';
import { unpackDebianServer } from './server-debian.ts';

const run = promisify(execFile);

/** The image for machines where there is neither a server nor apt. */
const DOCKER_IMAGE = 'redis:7-alpine';

export interface ServerSourceOptions {
  /** Directories in which programs are looked for, as in `PATH`. */
  searchPath: string;
  /** The project's cache directory; Debian's package is unpacked there. */
  cacheDir: string;
  /** Called before a step that takes a while, with a line for a person. */
  onProgress?: (line: string) => void;
}

/** No Redis server is here, and none could be fetched. The message is one line that says what to do. */
export class NoRedisServerError extends Error {
  constructor() {
    super(
      'No Redis server to be had: install one (Debian, Ubuntu: apt-get install redis-server; macOS: brew install redis), ' +
        'start Docker, or set REDIS_URL to a server of your own.',
    );
    this.name = 'NoRedisServerError';
  }
}

/**
 * Where the server comes from, in this order: a program on the search path; Debian's package, unpacked under the
 * cache directory now or earlier; Docker. A server that happens to listen somewhere is never used.
 * @throws NoRedisServerError
 */
export async function obtainServer(options: ServerSourceOptions): Promise<ServerCommand> {
  const present = findServer(options.searchPath, options.cacheDir);
  if (present) return present;
  if (findOnPath(['apt-get'], options.searchPath)) {
    options.onProgress?.("Fetching Debian's Redis package into the cache directory");
  }
  const unpacked = await unpackDebianServer(options.cacheDir, options.searchPath);
  if (unpacked) return unpacked;
  const container = await findDocker(options);
  if (container) return container;
  throw new NoRedisServerError();
}

async function findDocker(options: ServerSourceOptions): Promise<ServerCommand | undefined> {
  const docker = findOnPath(['docker'], options.searchPath);
  if (docker === undefined) return undefined;
  try {
    await run(docker, ['version', '--format', '{{.Server.Version}}'], { timeout: 10_000 });
    const known = await run(docker, ['image', 'inspect', DOCKER_IMAGE], { timeout: 10_000 }).then(
      () => true,
      () => false,
    );
    if (!known) {
      options.onProgress?.(`Pulling ${DOCKER_IMAGE}`);
      await run(docker, ['pull', '--quiet', DOCKER_IMAGE], { timeout: 300_000 });
    }
  } catch {
    return undefined; // no engine, or no image: the caller says what to install
  }
  return {
    kind: 'docker',
    file: docker,
    description: `${DOCKER_IMAGE} in Docker`,
    runArguments: (dir, port) => [
      ...['run', '--rm', '-i', '--name', containerName(dir)],
      ...['-p', `127.0.0.1:${port}:6379`, '-v', `${dir}:/data`],
      ...userArguments(),
      ...['--entrypoint', 'sh', DOCKER_IMAGE],
    ],
  };
}

/** One name per data directory, so that the engine itself refuses a second server on the same data. */
export const containerName = (dir: string): string =>
  `flotilla-redis-${createHash('sha256').update(dir).digest('hex').slice(0, 12)}`;

/** Removes what an earlier process left behind under the same name. */
export async function removeContainer(docker: string, dir: string): Promise<void> {
  await run(docker, ['rm', '--force', containerName(dir)], { timeout: 30_000 });
}

function userArguments(): string[] {
  const uid = process.getuid?.();
  const gid = process.getgid?.();
  return uid === undefined || gid === undefined ? [] : ['--user', `${uid}:${gid}`];
}
