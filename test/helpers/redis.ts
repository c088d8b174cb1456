import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findServer } from '../../src/infra/redis/server-binary.ts';
import {
  freePort,
  launchServer,
  type ServerProcess,
  ServerStartError,
} from '../../src/infra/redis/server-process.ts';

export interface TestRedisOptions {
  /** Off by default: most tests never restart their server. */
  appendOnly?: boolean;
  appendFsync?: 'always' | 'everysec' | 'no';
  maxMemoryBytes?: number;
  /** Allows `DEBUG` to clients on this machine. */
  debugCommand?: boolean;
}

/** A real Redis server for one test file. It dies with the test process, also on SIGKILL. */
export interface TestRedis {
  readonly url: string;
  readonly port: number;
  readonly password: string;
  readonly dir: string;
  /** Of the server that runs now; another one after `restart()`. */
  readonly pid: number;
  /** Ends the server and removes its directory. May be called twice. */
  stop(): Promise<void>;
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>;
  /** Ends the server if it runs, and starts it on the same port and password. Data is kept unless said otherwise. */
  restart(options?: { keepData?: boolean }): Promise<void>;
  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
}

const CACHE_DIR = join(import.meta.dirname, '..', '..', '.cache');

/** Starts a Redis server on a free loopback port with a password of its own. Takes some 50 ms. */
export async function startRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  const command = findServer(process.env.PATH ?? '', CACHE_DIR);
  if (command === undefined) throw new Error('No Redis server here: start the tests with `npm test`.');
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-redis-'));
  const password = randomBytes(12).toString('hex');
  const launch = (port: number) =>
    launchServer(
      command,
      {
        dir,
        port,
        password,
        appendOnly: options.appendOnly ?? false,
        appendFsync: options.appendFsync ?? 'everysec',
        ...(options.maxMemoryBytes === undefined ? {} : { maxMemoryBytes: options.maxMemoryBytes }),
        ...(options.debugCommand ? { debugCommand: true } : {}),
      },
      { deathSignal: 'KILL' }, // also ends a paused server
    );

  let server = await onFreePort(launch);
  const { port } = server;
  const end = async (): Promise<void> => {
    server.signal('SIGKILL');
    await server.exited;
  };
  return {
    url: `redis://:${password}@127.0.0.1:${port}`,
    port,
    password,
    dir,
    get pid() {
      return server.pid;
    },
    kill: end,
    stop: async () => {
      await end();
      // A child that was writing the log anew outlives its server for a moment, and its file comes back.
      await rm(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
    restart: async ({ keepData = true } = {}) => {
      server.signal('SIGCONT'); // a paused server would not hear that it should stop
      await server.stop();
      if (!keepData) await rm(join(dir, 'appendonlydir'), { recursive: true, force: true });
      server = await launch(port);
    },
    pause: () => void server.signal('SIGSTOP'),
    resume: () => void server.signal('SIGCONT'),
  };
}

/** Between finding a free port and taking it, another process may be quicker. */
async function onFreePort(launch: (port: number) => Promise<ServerProcess>): Promise<ServerProcess> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await launch(await freePort());
    } catch (error) {
      if (!(error instanceof ServerStartError && error.portTaken) || attempt === 5) throw error;
    }
  }
}
