import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { accessSync, constants, openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { makeBaseImage } from './docker-base-image.ts';

const run = promisify(execFile);

/** A Docker engine of the tests' own: its own network namespace, socket and data. */
export interface TestEngine {
  /** Such as `unix:///tmp/…/docker.sock`. */
  readonly host: string;
  /** The address by which containers reach this machine, and so the orchestrator of a test. */
  readonly gateway: string;
  /** Debian's client, pointed at this engine. @returns its standard output, trimmed */
  docker(
    args: string[],
    options?: { cwd?: string; timeoutMs?: number; input?: string; env?: Record<string, string> },
  ): Promise<string>;
  /** Ends the daemon alone. Without live-restore its containers go with it, at the latest when it is back. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Lets the daemon fall silent, and go on. */
  freeze(frozen: boolean): void;
  /** Starts the daemon again over the same data. */
  restart(): Promise<void>;
  /** Removes all containers, volumes and networks of this run, then everything else but the data-root. */
  stop(): Promise<void>;
}

/** Kept between runs: the data-root with base image and build cache. */
const CACHE_DIR = join(import.meta.dirname, '..', '..', '.cache', 'docker');
/** Names the run directory of the engine that holds the data-root. */
const RUN_RECORD = join(CACHE_DIR, 'run-dir');
const PROGRAMS = ['/usr/sbin/dockerd', '/usr/bin/docker', '/usr/bin/mmdebstrap'];
const READY_TIMEOUT_MS = 30_000;

/** Why there can be no engine here, as a sentence; null if there can. */
export function engineTrouble(): string | null {
  if (process.platform !== 'linux') return 'a private Docker engine needs Linux';
  if (process.getuid?.() !== 0) return 'a private Docker engine needs root';
  const missing = [...PROGRAMS, ...['ip', 'iptables'].map(findProgram)].filter((path) => !isExecutable(path));
  return missing.length === 0
    ? null
    : `${missing.join(', ')} missing: apt-get install --no-install-recommends docker.io iproute2 iptables mmdebstrap`;
}

const findProgram = (name: string): string =>
  ['/usr/sbin', '/sbin', '/usr/bin', '/bin'].map((dir) => `${dir}/${name}`).find(isExecutable) ?? name;

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * An engine in the machine's own network namespace would take other engines' firewall rules away; in one of its own
 * it can do as it likes. Only one at a time uses the cached data-root.
 * @param liveRestore containers outlive the daemon
 */
export async function startEngine({ liveRestore = false } = {}): Promise<TestEngine> {
  const net = 9;
  const namespace = `flotilla-e${net}`;
  const addresses = { host: `10.250.${net}.1`, engine: `10.250.${net}.2`, subnet: `10.250.${net}.0/24` };
  await mkdir(CACHE_DIR, { recursive: true, mode: 0o700 });
  const unlock = await lock(join(CACHE_DIR, 'engine.lock'));
  await endLeftover();
  const runDir = await mkdtemp(join(tmpdir(), 'flotilla-engine-'));
  await writeFile(RUN_RECORD, runDir);
  const host = `unix://${runDir}/docker.sock`;
  const network = namespaceOf(namespace, addresses);
  let daemon: ChildProcess | undefined;

  const docker: TestEngine['docker'] = async (args, options = {}) => {
    const running = run('/usr/bin/docker', ['-H', host, ...args], {
      env: { ...process.env, DOCKER_BUILDKIT: '1', DOCKER_CONFIG: runDir, ...options.env },
      maxBuffer: 64 * 1024 * 1024,
      timeout: options.timeoutMs ?? 300_000,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    running.child.stdin?.end(options.input ?? '');
    return (await running).stdout.trim();
  };
  const up = async (): Promise<void> => {
    // Left by a daemon that was killed; the next one would wait for a process that is gone.
    for (const file of ['docker.pid', 'exec/containerd/containerd.pid'])
      await rm(join(runDir, file), { force: true });
    daemon = spawnDaemon({ namespace, runDir, host, liveRestore });
    await ready(`${runDir}/docker.sock`, daemon, join(runDir, 'daemon.log'));
  };
  const down = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    if (!daemon || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const pid = Number(await readFile(join(runDir, 'docker.pid'), 'utf8').catch(() => '0'));
    const ended = new Promise<void>((resolve) => daemon?.once('exit', () => resolve()));
    // The daemon runs below `unshare`, which passes its end on but no signals.
    if (pid > 1) process.kill(pid, signal);
    else daemon.kill('SIGKILL');
    await ended;
    const containerd = await readFile(join(runDir, 'exec/containerd/containerd.pid'), 'utf8').catch(() => '');
    if (signal === 'SIGKILL' && Number(containerd) > 1) killQuietly(Number(containerd));
  };

  const engine: TestEngine = {
    host,
    gateway: addresses.host,
    docker,
    kill: down,
    freeze: (frozen) => void daemon?.kill(frozen ? 'SIGSTOP' : 'SIGCONT'),
    restart: up,
    async stop() {
      try {
        if (daemon?.exitCode !== null || daemon.signalCode !== null) await up();
        await clean(docker);
      } finally {
        await down('SIGTERM');
        await network.remove();
        await rm(runDir, { recursive: true, force: true });
        await unlock();
      }
    },
  };
  try {
    await network.create();
    await up();
    await clean(docker);
    await makeBaseImage(docker, host, CACHE_DIR);
    return engine;
  } catch (error) {
    await down('SIGTERM');
    await network.remove();
    await rm(runDir, { recursive: true, force: true });
    await unlock();
    throw error;
  }
}

function spawnDaemon(options: {
  namespace: string;
  runDir: string;
  host: string;
  liveRestore: boolean;
}): ChildProcess {
  const { namespace, runDir, host, liveRestore } = options;
  const log = openSync(join(runDir, 'daemon.log'), 'a', 0o600);
  // `ip netns exec` would mount a /sys of its own, without the control groups.
  return spawn(
    '/usr/bin/nsenter',
    [
      `--net=/run/netns/${namespace}`,
      'unshare',
      '--mount',
      '--uts',
      'dockerd',
      `--data-root=${join(CACHE_DIR, 'data')}`,
      `--exec-root=${join(runDir, 'exec')}`,
      `--pidfile=${join(runDir, 'docker.pid')}`,
      `--host=${host}`,
      '--mtu=1400',
      '--bip=10.250.1.1/24',
      '--default-address-pool=base=10.251.0.0/16,size=24',
      ...(liveRestore ? ['--live-restore'] : []),
    ],
    { stdio: ['ignore', log, log] },
  );
}

async function ready(socketPath: string, daemon: ChildProcess, logFile: string): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < deadline && daemon.exitCode === null) {
    if (await ping(socketPath)) return;
    await sleep(50);
  }
  const log = (await readFile(logFile, 'utf8')).trim().split('\n').slice(-15).join('\n');
  throw new Error(`the Docker engine did not start:\n${log}`);
}

const ping = (socketPath: string): Promise<boolean> =>
  new Promise((resolve) => {
    const call = request({ socketPath, path: '/_ping', timeout: 1000 }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    call.once('error', () => resolve(false));
    call.end();
  });

/** The engine of a run that was killed: its data-root is wanted again. */
async function endLeftover(): Promise<void> {
  const runDir = await readFile(RUN_RECORD, 'utf8').catch(() => '');
  if (!runDir.startsWith(join(tmpdir(), 'flotilla-engine-'))) return;
  const pid = Number(await readFile(join(runDir, 'docker.pid'), 'utf8').catch(() => '0'));
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (command.includes(runDir)) {
    process.kill(pid, 'SIGTERM');
    for (let waited = 0; waited < 200 && isAlive(pid); waited += 1) await sleep(50);
  }
  await rm(runDir, { recursive: true, force: true });
}

/** What an earlier run left; images and build cache stay. */
async function clean(docker: TestEngine['docker']): Promise<void> {
  const ids = (await docker(['ps', '-aq'])).split('\n').filter(Boolean);
  // A container that is being removed already is no reason to stop.
  if (ids.length > 0) await docker(['rm', '-fv', ...ids]).catch(() => sleep(1000));
  await docker(['volume', 'prune', '-f']);
  await docker(['network', 'prune', '-f']);
}

/** A network of its own, with a way out through this machine. */
function namespaceOf(
  name: string,
  { host, engine, subnet }: { host: string; engine: string; subnet: string },
) {
  const link = `${name}h`;
  const rules = [
    ['-t', 'nat', 'POSTROUTING', '-s', subnet, '!', '-d', subnet, '-j', 'MASQUERADE'],
    ['-t', 'filter', 'FORWARD', '-i', link, '-j', 'ACCEPT'],
    ['-t', 'filter', 'FORWARD', '-o', link, '-j', 'ACCEPT'],
  ];
  const rule = (action: '-I' | '-D') =>
    rules.map(([t = '', table = '', ...rest]) => ['-w', t, table, action, ...rest]);
  const quietly = (file: string, args: string[]): Promise<unknown> => run(file, args).catch(() => undefined);
  const remove = async (): Promise<void> => {
    for (const args of rule('-D')) await quietly('iptables', args);
    await quietly('ip', ['link', 'del', link]);
    await quietly('ip', ['netns', 'del', name]);
  };
  return {
    remove,
    async create(): Promise<void> {
      await remove();
      const inside = ['-n', name];
      const peer = `${name}c`;
      await run('ip', ['netns', 'add', name]);
      await run('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', peer, 'netns', name]);
      await run('ip', ['addr', 'add', `${host}/24`, 'dev', link]);
      await run('ip', ['link', 'set', link, 'up']);
      await run('ip', [...inside, 'addr', 'add', `${engine}/24`, 'dev', peer]);
      await run('ip', [...inside, 'link', 'set', peer, 'up']);
      await run('ip', [...inside, 'link', 'set', 'lo', 'up']);
      await run('ip', [...inside, 'route', 'add', 'default', 'via', host]);
      // Not taken back: another engine on this machine may rely on it by then.
      await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
      for (const args of rule('-I')) await run('iptables', args);
    },
  };
}

/** One engine at a time; the lock of a process that is gone is taken over. */
async function lock(path: string): Promise<() => Promise<void>> {
  const deadline = performance.now() + 600_000;
  for (;;) {
    try {
      await writeFile(path, String(process.pid), { flag: 'wx' });
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = Number(await readFile(path, 'utf8').catch(() => '0'));
    if (holder > 0 && !isAlive(holder)) await rm(path, { force: true });
    if (performance.now() > deadline) throw new Error(`another run holds ${path}`);
    await sleep(200);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}
