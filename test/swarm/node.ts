import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { makeBaseImage } from '../helpers/docker-base-image.ts';
import { endProcessesOn } from '../helpers/engine-leftovers.ts';
import { lockEngine } from '../helpers/engine-lock.ts';
import { patient } from '../patience.ts';
import { trimBuildCache } from './cache-limits.ts';
import { addressOf, type NodeNetwork, nodeNetwork } from './network.ts';
import { REGISTRY } from './registry.ts';

const run = promisify(execFile);

/** A machine of a swarm: an engine in a network namespace of its own, on a bridge with its peers. */
export interface SwarmNode {
  readonly name: string;
  /** Such as `unix:///tmp/…/docker.sock`. */
  readonly host: string;
  /** By which its peers reach it. */
  readonly address: string;
  /** Debian's client, pointed at this engine. @returns its standard output, trimmed */
  docker(
    args: string[],
    options?: { timeoutMs?: number; input?: string; cwd?: string; env?: Record<string, string> },
  ): Promise<string>;
  /** Lets the engine fall silent, and go on. */
  freeze(frozen: boolean): Promise<void>;
  /** Cuts the machine off from everything, or connects it again; what runs on it goes on. */
  cut(off: boolean): Promise<void>;
  /** What it cannot reach from now on; empty for nothing. */
  wall(addresses: readonly string[]): Promise<void>;
  /** SIGKILL to the engine alone: its containers go on. */
  killEngine(): Promise<void>;
  /** Ends the engine and everything on it at once. */
  powerOff(): Promise<void>;
  /** Connected, with a running engine: one that was ended starts again over the same data. */
  revive(): Promise<void>;
  /** Leaves the swarm and takes everything away but the images. */
  stop(): Promise<void>;
}

/** Kept between runs: a data-root with images for each node. */
export const CACHE_DIR = join(import.meta.dirname, '..', '..', '.cache', 'swarm');
const READY_TIMEOUT_MS = 30_000;

/**
 * @param number from 1; each has an address, a namespace and a data-root of its own
 * @param makesImages whether images are built there; the others are given them
 */
export async function startNode(number: number, { makesImages = true } = {}): Promise<SwarmNode> {
  const name = `s${number}`;
  const cache = join(CACHE_DIR, name);
  await mkdir(cache, { recursive: true, mode: 0o700 });
  const unlock = await lockEngine(`swarm-${number}`);
  await endLeftover(cache);
  const runDir = await mkdtemp(join(tmpdir(), 'flotilla-swarm-'));
  await writeFile(join(cache, 'run-dir'), runDir);
  // What an earlier run knew of its peers would only be waited for, and its networks are nobody's any more.
  for (const kept of ['swarm', 'network'])
    await rm(join(cache, 'data', kept), { recursive: true, force: true });
  const network = nodeNetwork(number);
  const host = `unix://${runDir}/docker.sock`;
  const docker: SwarmNode['docker'] = async (args, options = {}) => {
    const running = run('/usr/bin/docker', ['-H', host, ...args], {
      env: { ...process.env, DOCKER_BUILDKIT: '1', DOCKER_CONFIG: runDir, ...options.env },
      maxBuffer: 64 * 1024 * 1024,
      timeout: patient(options.timeoutMs ?? 120_000),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    // It may have ended before it read anything.
    running.child.stdin?.on('error', () => undefined).end(options.input ?? '');
    return (await running).stdout.trim();
  };
  let daemon: ChildProcess | undefined;
  const isUp = (): boolean => daemon?.exitCode === null && daemon.signalCode === null;
  const pidOf = async (file: string): Promise<number> =>
    Number(await readFile(join(runDir, file), 'utf8').catch(() => '0'));
  const up = async (): Promise<void> => {
    // Left by one that was killed; the next would wait for a process that is gone.
    for (const file of ['docker.pid', 'exec/containerd/containerd.pid'])
      await rm(join(runDir, file), { force: true });
    daemon = spawnDaemon({ name, network, runDir, host, dataRoot: join(cache, 'data') });
    await ready(docker, daemon, join(runDir, 'daemon.log'));
  };
  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    if (!daemon || !isUp()) return;
    const ended = new Promise<void>((resolve) => daemon?.once('exit', () => resolve()));
    const [pid, containerd] = [await pidOf('docker.pid'), await pidOf('exec/containerd/containerd.pid')];
    if (pid > 1) process.kill(pid, signal);
    else daemon.kill('SIGKILL');
    if (signal === 'SIGKILL' && containerd > 1) killQuietly(containerd);
    await ended;
  };
  const endAll = async (): Promise<void> => {
    await network.end();
    // Containers have a network of their own.
    await endProcessesOn(join(cache, 'data'));
  };
  const away = async (): Promise<void> => {
    await endAll();
    await network.remove();
    await run('bash', [
      '-c',
      `grep -o '${runDir}[^ ]*' /proc/self/mounts | sort -r | xargs -r umount -l`,
    ]).catch(() => undefined);
    await rm(runDir, { recursive: true, force: true });
    await rm(join(cache, 'run-dir'), { force: true });
    await unlock();
  };
  try {
    await network.create();
    await up();
    await removeContainers(docker);
    if (makesImages) await makeBaseImage((args) => docker(args, { timeoutMs: 300_000 }));
  } catch (error) {
    await end('SIGKILL');
    await away();
    throw error;
  }
  return {
    name,
    host,
    address: addressOf(number),
    docker,
    async freeze(frozen) {
      process.kill(await pidOf('docker.pid'), frozen ? 'SIGSTOP' : 'SIGCONT');
    },
    cut: (off) => network.cut(off),
    wall: (addresses) => network.wall(addresses),
    killEngine: () => end('SIGKILL'),
    async powerOff() {
      await network.cut(true);
      await end('SIGKILL');
      await endAll();
    },
    async revive() {
      await network.wall([]);
      await network.cut(false);
      if (!isUp()) await up();
    },
    async stop() {
      if (isUp()) {
        await docker(['swarm', 'leave', '--force']).catch(() => undefined);
        await removeContainers(docker);
        for (const kind of ['volume', 'network', 'image'])
          await docker([kind, 'prune', '-f']).catch(() => undefined);
        if (makesImages) await trimBuildCache(docker);
      }
      await end('SIGTERM');
      await away();
    },
  };
}

function spawnDaemon(given: {
  name: string;
  network: NodeNetwork;
  runDir: string;
  host: string;
  dataRoot: string;
}): ChildProcess {
  const { name, network, runDir, host, dataRoot } = given;
  const log = openSync(join(runDir, 'daemon.log'), 'a', 0o600);
  const options = [
    `--data-root=${dataRoot}`,
    `--exec-root=${join(runDir, 'exec')}`,
    `--pidfile=${join(runDir, 'docker.pid')}`,
    `--host=${host}`,
    `--insecure-registry=${REGISTRY}`,
    // What engines before API 1.44 do not take from a service.
    '--no-new-privileges',
    '--mtu=1400',
    '--bip=10.250.1.1/24',
    '--default-address-pool=base=10.251.0.0/16,size=24',
  ];
  // A host name of its own: it is the name of the node.
  const script = 'hostname "$0" && exec dockerd "$@"';
  const within = ['nsenter', `--net=${network.path}`, 'unshare', '--mount', '--uts', 'sh', '-c', script];
  // It ends with the tests, however they end.
  const tied = ['--pdeathsig', 'TERM', ...within, name, ...options];
  return spawn('/usr/bin/setpriv', tied, { stdio: ['ignore', log, log] });
}

async function ready(docker: SwarmNode['docker'], daemon: ChildProcess, logFile: string): Promise<void> {
  const deadline = performance.now() + patient(READY_TIMEOUT_MS);
  while (performance.now() < deadline && daemon.exitCode === null) {
    const up = await docker(['version'], { timeoutMs: 5000 }).then(
      () => true,
      () => false,
    );
    if (up) return;
    await sleep(100);
  }
  const log = (await readFile(logFile, 'utf8')).trim().split('\n').slice(-15).join('\n');
  throw new Error(`the Docker engine did not start:\n${log}`);
}

async function removeContainers(docker: SwarmNode['docker']): Promise<void> {
  const ids = (await docker(['ps', '-aq']).catch(() => '')).split('\n').filter(Boolean);
  // One that is being removed already is no reason to stop.
  if (ids.length > 0) await docker(['rm', '-fv', ...ids]).catch(() => undefined);
}

/** The engine of a run that was killed, and what ran on it: its data-root is wanted again. */
async function endLeftover(cache: string): Promise<void> {
  const runDir = await readFile(join(cache, 'run-dir'), 'utf8').catch(() => '');
  if (!runDir.startsWith(join(tmpdir(), 'flotilla-swarm-'))) return;
  const pid = Number(await readFile(join(runDir, 'docker.pid'), 'utf8').catch(() => '0'));
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (command.includes(runDir)) {
    process.kill(pid, 'SIGTERM');
    for (let waited = 0; waited < 200 && (await isThere(pid)); waited += 1) await sleep(50);
  }
  await endProcessesOn(join(cache, 'data'));
  await rm(runDir, { recursive: true, force: true });
}

const isThere = async (pid: number): Promise<boolean> =>
  (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')) !== '';

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It went with its parent.
  }
}
