import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { makeBaseImage } from '../helpers/docker-base-image.ts';

const run = promisify(execFile);

/** A machine of a swarm: an engine in a network namespace of its own, on a bridge with its peers. */
export interface SwarmNode {
  readonly name: string;
  /** Such as `unix:///tmp/…/docker.sock`. */
  readonly host: string;
  /** By which its peers reach it. */
  readonly address: string;
  /** Debian's client, pointed at this engine. @returns its standard output, trimmed */
  docker(args: string[], options?: { timeoutMs?: number; input?: string }): Promise<string>;
  /** Lets the engine fall silent, and go on. */
  freeze(frozen: boolean): Promise<void>;
  /** Cuts the machine off from its peers, or connects it again; what runs on it goes on. */
  cut(off: boolean): Promise<void>;
  /** Ends the engine and everything on it at once. */
  powerOff(): Promise<void>;
  /** Leaves the swarm and takes everything away but the images. */
  stop(): Promise<void>;
}

/** Kept between runs: a data-root with the base image for each node. */
const CACHE_DIR = join(import.meta.dirname, '..', '..', '.cache', 'swarm');
const BRIDGE = 'flotilla-sb';
const READY_TIMEOUT_MS = 30_000;

/** By which containers reach this machine. */
export const GATEWAY = '10.240.0.1';

/**
 * @param number from 1; each has an address, a namespace and a data-root of its own
 * @param makesImages whether images are built there; the others are given them
 */
export async function startNode(number: number, { makesImages = true } = {}): Promise<SwarmNode> {
  const name = `s${number}`;
  const cache = join(CACHE_DIR, name);
  await mkdir(cache, { recursive: true, mode: 0o700 });
  await endLeftover(cache);
  const runDir = await mkdtemp(join(tmpdir(), 'flotilla-swarm-'));
  await writeFile(join(cache, 'run-dir'), runDir);
  // What an earlier run knew of its peers would only be waited for.
  await rm(join(cache, 'data', 'swarm'), { recursive: true, force: true });
  const network = namespaceOf(name, `10.240.0.${10 + number}`);
  const host = `unix://${runDir}/docker.sock`;
  const docker: SwarmNode['docker'] = async (args, options = {}) => {
    const running = run('/usr/bin/docker', ['-H', host, ...args], {
      env: { ...process.env, DOCKER_BUILDKIT: '1', DOCKER_CONFIG: runDir },
      maxBuffer: 64 * 1024 * 1024,
      timeout: options.timeoutMs ?? 120_000,
    });
    running.child.stdin?.end(options.input ?? '');
    return (await running).stdout.trim();
  };
  let daemon: ChildProcess | undefined;
  const pidOf = async (file: string): Promise<number> =>
    Number(await readFile(join(runDir, file), 'utf8').catch(() => '0'));
  const end = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    if (!daemon || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => daemon?.once('exit', () => resolve()));
    const [pid, containerd] = [await pidOf('docker.pid'), await pidOf('exec/containerd/containerd.pid')];
    if (pid > 1) process.kill(pid, signal);
    else daemon.kill('SIGKILL');
    if (signal === 'SIGKILL' && containerd > 1) process.kill(containerd, 'SIGKILL');
    await ended;
  };
  const away = async (): Promise<void> => {
    await endInside(name);
    await network.remove();
    await run('bash', [
      '-c',
      `grep -o '${runDir}[^ ]*' /proc/self/mounts | sort -r | xargs -r umount -l`,
    ]).catch(() => undefined);
    await rm(runDir, { recursive: true, force: true });
    await rm(join(cache, 'run-dir'), { force: true });
  };
  try {
    await network.create();
    daemon = spawnDaemon({ name, runDir, host, dataRoot: join(cache, 'data') });
    await ready(docker, daemon, join(runDir, 'daemon.log'));
    if (makesImages) await makeBaseImage((args) => docker(args, { timeoutMs: 300_000 }), host, cache);
  } catch (error) {
    await end('SIGKILL');
    await away();
    throw error;
  }
  return {
    name,
    host,
    address: network.address,
    docker,
    async freeze(frozen) {
      process.kill(await pidOf('docker.pid'), frozen ? 'SIGSTOP' : 'SIGCONT');
    },
    cut: (off) => network.cut(off),
    async powerOff() {
      await network.cut(true);
      await end('SIGKILL');
      await endInside(name);
    },
    async stop() {
      if (daemon?.exitCode === null && daemon.signalCode === null) {
        await docker(['swarm', 'leave', '--force']).catch(() => undefined);
        const ids = (await docker(['ps', '-aq']).catch(() => '')).split('\n').filter(Boolean);
        if (ids.length > 0) await docker(['rm', '-fv', ...ids]).catch(() => undefined);
        await docker(['volume', 'prune', '-f']).catch(() => undefined);
        await docker(['network', 'prune', '-f']).catch(() => undefined);
      }
      await end('SIGTERM');
      await away();
    },
  };
}

function spawnDaemon({
  name,
  runDir,
  host,
  dataRoot,
}: {
  name: string;
  runDir: string;
  host: string;
  dataRoot: string;
}): ChildProcess {
  const log = openSync(join(runDir, 'daemon.log'), 'a', 0o600);
  const options = [
    `--data-root=${dataRoot}`,
    `--exec-root=${join(runDir, 'exec')}`,
    `--pidfile=${join(runDir, 'docker.pid')}`,
    `--host=${host}`,
    '--mtu=1400',
    '--bip=10.250.1.1/24',
    '--default-address-pool=base=10.251.0.0/16,size=24',
  ];
  // A host name of its own: it is the name of the node.
  const script = 'hostname "$0" && exec dockerd "$@"';
  const within = [`--net=/run/netns/flotilla-${name}`, 'unshare', '--mount', '--uts', 'sh', '-c', script];
  return spawn('/usr/bin/nsenter', [...within, name, ...options], { stdio: ['ignore', log, log] });
}

async function ready(docker: SwarmNode['docker'], daemon: ChildProcess, logFile: string): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
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

/** The engine of a run that was killed: its data-root is wanted again. */
async function endLeftover(cache: string): Promise<void> {
  const runDir = await readFile(join(cache, 'run-dir'), 'utf8').catch(() => '');
  if (!runDir.startsWith(join(tmpdir(), 'flotilla-swarm-'))) return;
  const pid = Number(await readFile(join(runDir, 'docker.pid'), 'utf8').catch(() => '0'));
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (command.includes(runDir)) {
    process.kill(pid, 'SIGTERM');
    for (let waited = 0; waited < 200 && (await isThere(pid)); waited += 1) await sleep(50);
  }
  await rm(runDir, { recursive: true, force: true });
}

const isThere = async (pid: number): Promise<boolean> =>
  (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')) !== '';

/** Ends what runs in the network of a node, which its engine has left behind. */
async function endInside(name: string): Promise<void> {
  const { stdout } = await run('ip', ['netns', 'pids', `flotilla-${name}`]).catch(() => ({ stdout: '' }));
  for (const pid of stdout.split('\n').filter(Boolean).map(Number)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It is gone already.
    }
  }
}

function namespaceOf(name: string, address: string) {
  const namespace = `flotilla-${name}`;
  const [outer, inner] = [`flot-${name}h`, `flot-${name}c`];
  const quietly = (args: string[]): Promise<unknown> => run('ip', args).catch(() => undefined);
  const rule = ['FORWARD', '-i', BRIDGE, '-o', BRIDGE, '-j', 'ACCEPT'];
  const iptables = (action: string): Promise<unknown> =>
    run('iptables', ['-w', action, ...rule]).catch(() => undefined);
  const remove = async (): Promise<void> => {
    await quietly(['link', 'del', outer]);
    await quietly(['netns', 'del', namespace]);
    const { stdout } = await run('ip', ['-o', 'link', 'show', 'master', BRIDGE]).catch(() => ({
      stdout: '',
    }));
    if (stdout.trim() !== '') return;
    await quietly(['link', 'del', BRIDGE]);
    await iptables('-D');
  };
  return {
    address,
    remove,
    cut: async (off: boolean): Promise<void> => {
      await run('ip', ['link', 'set', outer, off ? 'down' : 'up']);
    },
    async create(): Promise<void> {
      await remove();
      const there = await run('ip', ['link', 'show', BRIDGE]).catch(() => null);
      if (!there) {
        await run('ip', ['link', 'add', BRIDGE, 'type', 'bridge']);
        await run('ip', ['addr', 'add', `${GATEWAY}/24`, 'dev', BRIDGE]);
        await run('ip', ['link', 'set', BRIDGE, 'up']);
        await iptables('-I');
      }
      await run('ip', ['netns', 'add', namespace]);
      await run('ip', ['link', 'add', outer, 'type', 'veth', 'peer', 'name', inner, 'netns', namespace]);
      await run('ip', ['link', 'set', outer, 'master', BRIDGE, 'up']);
      const inside = ['-n', namespace];
      await run('ip', [...inside, 'addr', 'add', `${address}/24`, 'dev', inner]);
      await run('ip', [...inside, 'link', 'set', inner, 'up']);
      await run('ip', [...inside, 'link', 'set', 'lo', 'up']);
      await run('ip', [...inside, 'route', 'add', 'default', 'via', GATEWAY]);
    },
  };
}
