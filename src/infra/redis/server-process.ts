import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { createServer } from 'node:net';
import type { ServerCommand } from './server-binary.ts';

/** What one Redis server is started with. */
export interface ServerSettings {
  /** Absolute path of the directory that holds the data; it must exist. */
  dir: string;
  /** TCP port on 127.0.0.1. */
  port: number;
  password: string;
  appendOnly: boolean;
  appendFsync: 'always' | 'everysec' | 'no';
  /** Bytes after which writes are refused (nothing is ever evicted); 0 is no limit. */
  maxMemoryBytes?: number;
  /** Allows `DEBUG` to clients on this machine (Redis 7 and later, which forbid it unless told). */
  debugCommand?: boolean;
}

/** How a server came to its end. */
export interface ServerExit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The last lines that it printed, newest last. */
  lastLines: string[];
}

/** A Redis server that answers, and that ends when this process ends, however that happens. */
export interface ServerProcess {
  readonly port: number;
  /** Process id of the server itself; of the `docker` client when the server runs in a container. */
  readonly pid: number;
  /** Resolves when the server has ended, whatever the cause. Never rejects. */
  readonly exited: Promise<ServerExit>;
  /** Sends a signal to the server; false if it is gone. */
  signal(signal: NodeJS.Signals): boolean;
  /** Asks the server to finish (data is flushed), kills it after `graceMs`, and waits until it is gone. */
  stop(graceMs?: number): Promise<void>;
}

/** Thrown by `launchServer`; `portTaken` says that another port may do. */
export class ServerStartError extends Error {
  readonly portTaken: boolean;

  constructor(message: string, portTaken: boolean) {
    super(message);
    this.name = 'ServerStartError';
    this.portTaken = portTaken;
  }
}

/** The signal that the server gets when this process dies: TERM lets it flush, KILL also ends a stopped one. */
export type DeathSignal = 'TERM' | 'KILL';

const START_TIMEOUT_MS = 120_000; // a large append-only file is loaded before the server is ready
const KEPT_LINES = 12;
const LOWEST_PORT = 20_000;
const HIGHEST_PORT = 32_000;

/**
 * Starts a server and waits until it accepts connections.
 *
 * The settings go in by standard input, so the password is neither in the process list nor in a file.
 * The server is the leader of its own process group: Ctrl-C on a terminal reaches us alone, and we stop
 * the server after everything that uses it. It runs as the user that runs us, also if that is root: its
 * files then have one owner, it listens on loopback only, and nobody gets in without the password.
 *
 * @param options.deathSignal what the server gets when this process dies; default TERM
 * @param options.tie how it learns of that: from the kernel where there is a way (Linux), else from a guard
 * @throws ServerStartError if it ends, or is not ready in time
 */
export async function launchServer(
  command: ServerCommand,
  settings: ServerSettings,
  { deathSignal = 'TERM', tie = 'kernel' }: { deathSignal?: DeathSignal; tie?: 'kernel' | 'guard' } = {},
): Promise<ServerProcess> {
  const kernelTie = tie === 'kernel' && command.kind !== 'docker' && findSetpriv();
  const child = kernelTie
    ? spawnTied(kernelTie, command, deathSignal)
    : spawnGuarded(command, settings, deathSignal);
  const stdin = child.stdin;
  stdin?.on('error', () => {}); // EPIPE: the server ended early; `exited` tells the story
  stdin?.write(renderConfig(settings, command.kind === 'docker'));
  if (kernelTie) stdin?.end();
  else stdin?.write('#end\n'); // stays open: its end is what tells the guard that we are gone
  return await whenReady(child, command, settings.port);
}

function whenReady(child: ChildProcess, command: ServerCommand, port: number): Promise<ServerProcess> {
  const lines: string[] = [];
  let serverPid = child.pid;
  return new Promise((resolve, reject) => {
    const exited = new Promise<ServerExit>((done) => {
      child.once('error', (error) => {
        lines.push(error.message);
        done({ code: null, signal: null, lastLines: lines });
      });
      child.once('exit', (code, signal) => done({ code, signal, lastLines: lines }));
    });
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
    }, START_TIMEOUT_MS);
    void exited.then(() => {
      clearTimeout(timer);
      child.stdin?.destroy();
      const text = lines.join('\n');
      const portTaken = /Address already in use|port is already allocated/i.test(text);
      reject(new ServerStartError(`${command.description} did not start: ${lastWords(lines)}`, portTaken));
    });

    const onLine = (line: string): void => {
      const guardPid = /^guard-pid (\d+)$/.exec(line)?.[1];
      if (guardPid !== undefined && command.kind !== 'docker') serverPid = Number(guardPid);
      if (line.trim() !== '') lines.push(line.trim());
      if (lines.length > KEPT_LINES) lines.shift();
      if (!line.includes('Ready to accept connections')) return;
      clearTimeout(timer);
      resolve(serverOf(child, serverPid ?? 0, port, exited));
    };
    for (const stream of [child.stdout, child.stderr]) eachLine(stream, onLine);
  });
}

function serverOf(
  child: ChildProcess,
  pid: number,
  port: number,
  exited: Promise<ServerExit>,
): ServerProcess {
  let gone = false;
  void exited.then(() => {
    gone = true;
  });
  const signal = (name: NodeJS.Signals): boolean => {
    if (gone) return false;
    try {
      return process.kill(pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
      throw error;
    }
  };
  return {
    port,
    pid,
    exited,
    signal,
    stop: async (graceMs = 10_000) => {
      if (gone) return;
      child.stdin?.end(); // for the guard inside a container, where no signal of ours arrives
      signal('SIGTERM');
      const timer = setTimeout(() => signal('SIGKILL'), graceMs);
      await exited;
      clearTimeout(timer);
    },
  };
}

// ---- tied to our life ------------------------------------------------------------------------------------------

/**
 * Linux: the kernel sends the death signal when we die. The shell in between closes the one gap: if we died
 * before the tie was made, its parent is no longer us, and it does not start the server.
 */
function spawnTied(setpriv: string, command: ServerCommand, deathSignal: DeathSignal): ChildProcess {
  const script = '[ "$PPID" = "$1" ] || exit 1; exec "$2" -';
  return spawn(
    setpriv,
    ['--pdeathsig', deathSignal, 'sh', '-c', script, 'tie', String(process.pid), command.file],
    { detached: true, stdio: ['pipe', 'pipe', 'pipe'], ...withEnv(command) },
  );
}

/**
 * Elsewhere, and inside a container: a shell takes the settings up to `#end` from its standard input, starts
 * the server, and ends it when that input ends, which the kernel sees to when we die.
 */
const GUARD = `config=
while IFS= read -r line && [ "$line" != "#end" ]; do config="$config$line
"; done
exec 3<&0
"$1" - 3<&- <<EOF &
$config
EOF
pid=$!
echo "guard-pid $pid"
trap 'kill -TERM $pid 2>/dev/null' TERM INT HUP
{ cat <&3; kill -"$2" $pid; } >/dev/null 2>&1 &
guard=$!
exec 3<&-
wait $pid; code=$?
while kill -0 $pid 2>/dev/null; do wait $pid; code=$?; done
kill $guard 2>/dev/null
exit $code`;

function spawnGuarded(
  command: ServerCommand,
  settings: ServerSettings,
  deathSignal: DeathSignal,
): ChildProcess {
  const guard = [
    '-c',
    GUARD,
    'guard',
    command.kind === 'docker' ? 'redis-server' : command.file,
    deathSignal,
  ];
  const [file, args] =
    command.kind === 'docker'
      ? [command.file, [...command.runArguments(settings.dir, settings.port), ...guard]]
      : ['sh', guard];
  return spawn(file, args, { detached: true, stdio: ['pipe', 'pipe', 'pipe'], ...withEnv(command) });
}

function withEnv(command: ServerCommand): { env?: NodeJS.ProcessEnv } {
  if (command.kind !== 'unpacked') return {};
  // `env` instead of our own environment: the libraries beside the binary are for the server alone.
  const libraries = command.libraryPath === '' ? {} : { LD_LIBRARY_PATH: command.libraryPath };
  return { env: { PATH: '/usr/local/bin:/usr/bin:/bin', ...libraries } };
}

function findSetpriv(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  return ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

// ---- settings --------------------------------------------------------------------------------------------------

function renderConfig(settings: ServerSettings, inContainer: boolean): string {
  const quoted = (value: string) => `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  return `${[
    inContainer ? 'bind 0.0.0.0' : 'bind 127.0.0.1',
    `port ${inContainer ? 6379 : settings.port}`,
    `requirepass ${quoted(settings.password)}`,
    `dir ${quoted(inContainer ? '/data' : settings.dir)}`,
    ...(inContainer ? [] : [`pidfile ${quoted(`${settings.dir}/redis.pid`)}`]),
    'daemonize no',
    'logfile ""',
    'save ""',
    `appendonly ${settings.appendOnly ? 'yes' : 'no'}`,
    `appendfsync ${settings.appendFsync}`,
    `maxmemory ${settings.maxMemoryBytes ?? 0}`,
    'maxmemory-policy noeviction',
    'tcp-keepalive 60',
    ...(settings.debugCommand ? ['enable-debug-command local'] : []),
  ].join('\n')}\n`;
}

/**
 * A port on 127.0.0.1 that was free a moment ago. It lies below the range from which the kernel takes the ports of
 * outgoing connections: otherwise, while a crashed server is away, a client could be given its port (even the
 * client that tries to reconnect to it), and the server could not come back.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const port = randomInt(LOWEST_PORT, HIGHEST_PORT);
    if (await isFree(port)) return port;
  }
  throw new Error(`No free port on 127.0.0.1 between ${LOWEST_PORT} and ${HIGHEST_PORT}.`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

// ---- output ----------------------------------------------------------------------------------------------------

function eachLine(stream: NodeJS.ReadableStream | null, onLine: (line: string) => void): void {
  let rest = '';
  stream?.setEncoding('utf8');
  stream?.on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) onLine(part);
  });
}

/** The line that most likely says why. */
function lastWords(lines: string[]): string {
  const plain = lines.map((line) => line.replace(/^\d+:\w \d+ \w+ \d+ [\d:.]+ /, ''));
  const telling = plain.filter((line) => /^#|error|denied|fatal|can't|cannot|bad/i.test(line));
  return (telling.at(-1) ?? plain.at(-1) ?? 'it ended without a word').replace(/^# /, '');
}
