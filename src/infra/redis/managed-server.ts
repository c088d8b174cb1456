import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Clock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { ServerCommand } from './server-binary.ts';
import { endPreviousServer } from './server-orphan.ts';
import { freePort, launchServer, type ServerProcess, ServerStartError } from './server-process.ts';
import { obtainServer, removeContainer } from './server-source.ts';

export interface ManagedRedisOptions {
  /** `REDIS_URL`. When it is set nothing is started, and that server is used. */
  redisUrl: string | null | undefined;
  /** `DATA_DIR`; the server's data goes into `redis/` below it. */
  dataDir: string;
  /** The project's cache directory: where Debian's package is unpacked if there is no server. */
  cacheDir: string;
  /** `PATH`: where a server is looked for. */
  searchPath: string;
  /**
   * Default `everysec`. Everything that was promised to a client is in SQL before the answer, and a killed
   * server loses nothing under either setting (the kernel has the writes); only a power cut can take the last
   * second of claims and acks, which the leases make good. `always` costs a quarter of the throughput at 50
   * connections and four fifths at one.
   */
  appendFsync?: 'always' | 'everysec';
  /** Bytes; 0 (default) is no limit. Nothing is ever evicted: at the limit, writes are refused. */
  maxMemoryBytes?: number;
  clock: Clock;
  log: Logger;
}

/** The Redis that this process works with. */
export interface ManagedRedis {
  /** With the password in it: not for logs. Stays the same for the life of the process. */
  readonly url: string;
  /** `external` is `REDIS_URL`; the others are a server of our own. */
  readonly source: 'external' | ServerCommand['kind'];
  /** What was chosen, for a person; without credentials. */
  readonly description: string;
  /** Process id of the server of our own that runs now. */
  readonly pid: number | undefined;
  /** Ends the server of our own, if there is one, after its data is flushed. To be called last. Idempotent. */
  stop(): Promise<void>;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** A server that ran this long had recovered: the next crash starts at the first pause again. */
const STABLE_MS = 30_000;
/** Failed starts in a row after which a person should look. */
const ALARM_AFTER = 5;

/**
 * Makes sure of a Redis: `REDIS_URL`, or a server of our own as a child process on a free loopback port, with a
 * password, append-only, without eviction. It ends when this process ends, also by SIGKILL; its data stays for the
 * next start. If it ends by itself it is started again on the same port and password, and clients reconnect.
 * @throws NoRedisServerError when there is none to be had; ServerStartError when it does not start
 */
export async function startManagedRedis(options: ManagedRedisOptions): Promise<ManagedRedis> {
  if (options.redisUrl) return external(options.redisUrl);
  const { searchPath, cacheDir, clock, log } = options;
  const command = await obtainServer({
    searchPath,
    cacheDir: resolve(cacheDir),
    onProgress: (line) => log.info({}, line),
  });
  const dir = resolve(options.dataDir, 'redis');
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await endPreviousServer(dir, { clock, log });

  const remembered = await readRemembered(dir);
  const password = remembered?.password ?? randomBytes(24).toString('base64url');
  const launch = async (port: number): Promise<ServerProcess> => {
    if (command.kind === 'docker') await removeContainer(command.file, dir);
    return launchServer(command, {
      dir,
      port,
      password,
      appendOnly: true,
      appendFsync: options.appendFsync ?? 'everysec',
      maxMemoryBytes: options.maxMemoryBytes ?? 0,
    });
  };
  const first = await launchOnSomePort(launch, remembered?.port);
  await remember(dir, { port: first.port, password });
  return supervise(first, () => launch(first.port), { command, password, clock, log });
}

function external(url: string): ManagedRedis {
  const { host } = new URL(url);
  return {
    url,
    source: 'external',
    description: `Redis at ${host} (REDIS_URL)`,
    pid: undefined,
    stop: async () => {},
  };
}

/** The port of the last run first: a dispatcher of its own then finds the server again without being told. */
async function launchOnSomePort(
  launch: (port: number) => Promise<ServerProcess>,
  preferred: number | undefined,
): Promise<ServerProcess> {
  let port = preferred ?? (await freePort());
  for (let attempt = 1; ; attempt++) {
    try {
      return await launch(port);
    } catch (error) {
      if (!(error instanceof ServerStartError && error.portTaken) || attempt === 5) throw error;
      port = await freePort();
    }
  }
}

interface Supervision {
  command: ServerCommand;
  password: string;
  clock: Clock;
  log: Logger;
}

function supervise(
  first: ServerProcess,
  relaunch: () => Promise<ServerProcess>,
  { command, password, clock, log }: Supervision,
): ManagedRedis {
  let server: ServerProcess | undefined = first;
  let stopped: Promise<void> | undefined;
  const stopping = new AbortController();

  const startAgain = async (pauseMs: number): Promise<ServerProcess | undefined> => {
    let pause = pauseMs;
    for (let failures = 0; !stopping.signal.aborted; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
      try {
        await clock.sleep(pause, stopping.signal);
        return await relaunch();
      } catch (error) {
        if (stopping.signal.aborted) return undefined;
        failures++;
        const facts = { error: messageOf(error), failures };
        if (failures === ALARM_AFTER) log.error(facts, 'the Redis server does not start again');
        else log.warn(facts, 'the Redis server did not start again, trying on');
      }
    }
    return undefined;
  };

  const watch = async (): Promise<void> => {
    let pauseMs = FIRST_PAUSE_MS;
    while (server) {
      const startedAt = clock.monotonicMs();
      const exit = await server.exited;
      server = undefined;
      if (stopping.signal.aborted) return;
      pauseMs =
        clock.monotonicMs() - startedAt > STABLE_MS
          ? FIRST_PAUSE_MS
          : Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
      log.warn(
        { code: exit.code, signal: exit.signal, lastLine: exit.lastLines.at(-1) },
        'the Redis server ended',
      );
      server = await startAgain(pauseMs);
      if (stopping.signal.aborted) return await server?.stop(); // it came back while we were stopping
      if (server) log.info({ pid: server.pid, port: server.port }, 'the Redis server is back');
    }
  };
  const watching = watch();

  const stop = async (): Promise<void> => {
    stopping.abort();
    await server?.stop();
    await watching;
  };
  return {
    url: `redis://:${password}@127.0.0.1:${first.port}`,
    source: command.kind,
    description: `Redis server of our own: ${command.description}, port ${first.port}`,
    get pid() {
      return server?.pid;
    },
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

// ---- what the next start and a dispatcher of its own need to know ---------------------------------------------------

interface Remembered {
  port: number;
  password: string;
}

const rememberedFile = (dir: string): string => join(dir, 'server.json');

async function remember(dir: string, facts: Remembered): Promise<void> {
  const file = rememberedFile(dir);
  await writeFile(`${file}.new`, `${JSON.stringify(facts)}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

async function readRemembered(dir: string): Promise<Remembered | undefined> {
  let text: string;
  try {
    text = await readFile(rememberedFile(dir), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { port, password } = JSON.parse(text) as Partial<Remembered>;
    return typeof port === 'number' && typeof password === 'string' ? { port, password } : undefined;
  } catch {
    return undefined; // damaged: a new port and password do as well
  }
}

/**
 * The address of the server that an orchestrator runs on this data directory (or last ran there), for a
 * dispatcher of its own. @returns undefined if none ever ran there
 */
export async function managedRedisUrl(dataDir: string): Promise<string | undefined> {
  const facts = await readRemembered(resolve(dataDir, 'redis'));
  return facts && `redis://:${facts.password}@127.0.0.1:${facts.port}`;
}
