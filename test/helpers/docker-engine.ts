import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { accessSync, constants, openSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { patient } from '../patience.ts';
import { makeBaseImage } from './docker-base-image.ts';
import { removeAll, trimImages } from './engine-contents.ts';
import { endProcessesOn } from './engine-leftovers.ts';
import { lockEngine } from './engine-lock.ts';
import { type EngineNetwork, engineNetwork } from './engine-network.ts';
import { EngineRecord } from './engine-record.ts';
import { makeTlsFiles } from './engine-tls.ts';
import { isStopped } from './stopped-process.ts';

const run = promisify(execFile);

/** A Docker engine of the tests' own: its own network namespace, socket and data. */
export interface TestEngine {
  /** Such as `unix:///tmp/…/docker.sock`. */
  readonly host: string;
  /** Where it listens for clients with a certificate, and the directory of such a certificate; null without. */
  readonly tls: { address: string; dir: string } | null;
  /** The address by which containers reach this machine, and so the orchestrator of a test. */
  readonly gateway: string;
  /** Name of its network namespace. */
  readonly namespace: string;
  /** Debian's client, pointed at this engine. @returns its standard output, trimmed */
  docker(
    args: string[],
    options?: { cwd?: string; timeoutMs?: number; input?: string; env?: Record<string, string> },
  ): Promise<string>;
  /** Ends the daemon alone. Without live-restore its containers go with it, at the latest when it is back. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Lets the daemon fall silent, and go on. Silent it is when this resolves. */
  freeze(frozen: boolean): Promise<void>;
  /** Cuts it off from this machine, or connects it again; what runs there goes on. */
  cut(off: boolean): Promise<void>;
  /** Starts the daemon again over the same data. */
  restart(): Promise<void>;
  /** Where its disk is seen from here while the daemon runs. */
  diskPath(): string;
  /** Makes an image of another engine available here, unless it is there already. */
  takeImage(from: Pick<TestEngine, 'host' | 'docker'>, image: string): Promise<void>;
  /** Removes all containers, volumes and networks of this run, then everything else but the data-root. */
  stop(): Promise<void>;
}

export interface EngineOptions {
  /** Containers outlive the daemon. */
  liveRestore?: boolean;
  /** Which of several at the same time, from 1. */
  number?: number;
  /** Whether images are built there, on the base image; by default on the first alone. */
  makesImages?: boolean;
  /** Also listens on TCP, for clients with a certificate alone. */
  tls?: boolean;
  /** Also listens on TCP, on the port beside it, for whoever comes. */
  open?: boolean;
  /** `host:port` of a registry without TLS. */
  insecureRegistry?: string;
  /** The size of its disk. It is in memory, and gone with the daemon. */
  diskMegabytes?: number;
}

const ROOT = join(import.meta.dirname, '..', '..');
const PROGRAMS = ['/usr/sbin/dockerd', '/usr/bin/docker', '/usr/bin/mmdebstrap', '/usr/bin/openssl'];
const READY_TIMEOUT_MS = 30_000;
/** An engine that has not ended by then of its own will is killed. */
const END_TIMEOUT_MS = 30_000;
const TLS_PORT = 2376;
const OPEN_PORT = 2375;
/** Needed for namespaces, mounts and control groups; root within a container may lack them. */
const CAP_NET_ADMIN = 1n << 12n;
const CAP_SYS_ADMIN = 1n << 21n;

/** Why there can be no engine here, as a sentence; null if there can. */
export function engineTrouble(): string | null {
  if (process.platform !== 'linux') return 'a private Docker engine needs Linux';
  if (process.getuid?.() !== 0) return 'a private Docker engine needs root';
  const rights = BigInt(
    `0x${/^CapEff:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`,
  );
  if (!(rights & CAP_NET_ADMIN) || !(rights & CAP_SYS_ADMIN)) {
    return 'a private Docker engine needs CAP_NET_ADMIN and CAP_SYS_ADMIN';
  }
  const missing = [...PROGRAMS, ...['ip', 'iptables'].map(findProgram)].filter((path) => !isExecutable(path));
  return missing.length === 0
    ? null
    : `${missing.join(', ')} missing: apt-get install --no-install-recommends docker.io iproute2 iptables mmdebstrap openssl`;
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
 * it can do as it likes. Only one at a time has a number, and with it a cached data-root.
 */
export async function startEngine(options: EngineOptions = {}): Promise<TestEngine> {
  const { number = 1, diskMegabytes } = options;
  const cacheDir = join(ROOT, '.cache', number === 1 ? 'docker' : `docker-${number}`);
  await mkdir(cacheDir, { recursive: true, mode: 0o700 });
  const unlock = await lockEngine(String(number));
  const record = new EngineRecord(number);
  await record.endLeftover();
  const runDir = await mkdtemp(join(tmpdir(), 'flotilla-engine-'));
  const host = `unix://${runDir}/docker.sock`;
  const dataRoot = join(diskMegabytes === undefined ? cacheDir : runDir, 'data');
  await record.write({ runDir, dataRoot });
  const tlsDir = join(runDir, 'tls');
  const network = engineNetwork(number);
  let daemon: ChildProcess | undefined;

  const docker: TestEngine['docker'] = async (args, options = {}) => {
    const running = run('/usr/bin/docker', ['-H', host, ...args], {
      env: { ...process.env, DOCKER_BUILDKIT: '1', DOCKER_CONFIG: runDir, ...options.env },
      maxBuffer: 64 * 1024 * 1024,
      timeout: patient(options.timeoutMs ?? 300_000),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    // One that reads nothing may have ended by now; how it ended is said by its exit code.
    running.child.stdin?.on('error', () => undefined);
    running.child.stdin?.end(options.input ?? '');
    return (await running).stdout.trim();
  };
  const up = async (): Promise<void> => {
    // Left by a daemon that was killed; the next one would wait for a process that is gone.
    for (const file of ['docker.pid', 'exec/containerd/containerd.pid'])
      await rm(join(runDir, file), { force: true });
    daemon = spawnDaemon({ ...options, network, runDir, host, dataRoot });
    await ready(`${runDir}/docker.sock`, daemon, join(runDir, 'daemon.log'));
  };
  const down = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    if (!daemon || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const pid = Number(await readFile(join(runDir, 'docker.pid'), 'utf8').catch(() => '0'));
    const ended = new Promise<void>((resolve) => daemon?.once('exit', () => resolve()));
    // The daemon runs below `unshare`, which passes its end on but no signals.
    if (pid > 1) process.kill(pid, signal);
    else daemon.kill('SIGKILL');
    const hangs = new AbortController();
    const patience = sleep(END_TIMEOUT_MS, undefined, { signal: hangs.signal }).then(
      () => pid > 1 && killQuietly(pid),
      () => undefined,
    );
    await ended;
    hangs.abort();
    await patience;
    const containerd = await readFile(join(runDir, 'exec/containerd/containerd.pid'), 'utf8').catch(() => '');
    if (signal === 'SIGKILL' && Number(containerd) > 1) killQuietly(Number(containerd));
  };
  const away = async (): Promise<void> => {
    await down('SIGTERM');
    await endProcessesOn(dataRoot);
    await network.remove();
    await rm(runDir, { recursive: true, force: true });
    await record.remove();
    await unlock();
  };

  const engine: TestEngine = {
    host,
    tls: options.tls
      ? { address: `tcp://${network.address}:${TLS_PORT}`, dir: join(tlsDir, 'client') }
      : null,
    gateway: network.gateway,
    namespace: network.namespace,
    docker,
    kill: down,
    async freeze(frozen) {
      daemon?.kill(frozen ? 'SIGSTOP' : 'SIGCONT');
      // On a busy machine some of its threads may answer yet.
      while (frozen && !(await isStopped(daemon?.pid ?? 0))) await sleep(5);
    },
    cut: (off) => network.cut(off),
    restart: up,
    diskPath: () => `/proc/${daemon?.pid}/root${dataRoot}`,
    async takeImage(from, image) {
      const identity = ['image', 'inspect', '-f', '{{.Id}}', image];
      const present = await docker(identity).catch(() => '');
      if (present === (await from.docker(identity))) return;
      const pipe = `set -o pipefail; docker -H ${from.host} save ${image} | docker -H ${host} load`;
      await run('bash', ['-c', pipe], {
        env: { ...process.env, PATH: '/usr/bin:/bin' },
        timeout: patient(240_000),
      });
    },
    async stop() {
      try {
        if (daemon?.exitCode !== null || daemon.signalCode !== null) await up();
        await removeAll(docker);
        await trimImages(docker);
      } finally {
        await away();
      }
    },
  };
  try {
    if (options.tls) await makeTlsFiles(tlsDir, network.address);
    await network.create();
    await up();
    await removeAll(docker);
    if (options.makesImages ?? number === 1) await makeBaseImage(docker);
    return engine;
  } catch (error) {
    await away();
    throw error;
  }
}

function spawnDaemon(
  options: EngineOptions & { network: EngineNetwork; runDir: string; host: string; dataRoot: string },
): ChildProcess {
  const { network, runDir, host, dataRoot, diskMegabytes, liveRestore, tls, open, insecureRegistry } =
    options;
  const log = openSync(join(runDir, 'daemon.log'), 'a', 0o600);
  const pem = (file: string): string => join(runDir, 'tls', 'server', file);
  const disk = `mkdir -p '${dataRoot}' && mount -t tmpfs -o size=${diskMegabytes}m tmpfs '${dataRoot}' && `;
  // `ip netns exec` would mount a /sys of its own, without the control groups.
  return spawn(
    '/usr/bin/nsenter',
    [
      ...[`--net=/run/netns/${network.namespace}`, 'unshare', '--mount', '--uts'],
      ...['sh', '-c', `${diskMegabytes === undefined ? '' : disk}exec dockerd "$@"`, 'dockerd'],
      `--data-root=${dataRoot}`,
      `--exec-root=${join(runDir, 'exec')}`,
      `--pidfile=${join(runDir, 'docker.pid')}`,
      `--host=${host}`,
      '--mtu=1400',
      '--bip=10.250.1.1/24',
      '--default-address-pool=base=10.251.0.0/16,size=24',
      `--insecure-registry=${insecureRegistry ?? `${network.gateway}/32`}`,
      ...(liveRestore ? ['--live-restore'] : []),
      ...(open ? [`--host=tcp://0.0.0.0:${OPEN_PORT}`] : []),
      ...(tls
        ? [
            `--host=tcp://0.0.0.0:${TLS_PORT}`,
            '--tlsverify',
            `--tlscacert=${pem('ca.pem')}`,
            `--tlscert=${pem('cert.pem')}`,
            `--tlskey=${pem('key.pem')}`,
          ]
        : []),
    ],
    { stdio: ['ignore', log, log] },
  );
}

async function ready(socketPath: string, daemon: ChildProcess, logFile: string): Promise<void> {
  const deadline = performance.now() + patient(READY_TIMEOUT_MS);
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

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}
