import { createHash } from 'node:crypto';
import type { ContainerCreateOptions } from 'dockerode';
import { invalid } from '../../../kernel/errors.ts';
import type { WorkerSpec } from '../../../services/fleet/ports.ts';
import type { SecretFile } from './secret-files.ts';

export const LABEL = {
  fleet: 'flotilla.fleet',
  session: 'flotilla.session',
  epoch: 'flotilla.epoch',
  generation: 'flotilla.generation',
  /** A fingerprint, so that a proxy's sessions can be spread over hosts; it tells nothing about the proxy. */
  proxy: 'flotilla.proxy',
} as const;

/** Not root, and the owner of the files that hold secrets. */
export const WORKER_USER = { uid: 1000, gid: 1000 };
export const SECRETS_DIR = '/run/flotilla';

/** By this name a container reaches the machine that its engine runs on. */
const ENGINE_HOST = 'host.docker.internal';
const DEFAULT_MEMORY = 256 * 1024 * 1024;
const DEFAULT_CPU = 1;
const PIDS_LIMIT = 64;
const STOP_TIMEOUT_SECONDS = 10;

/** A session's worker, or one that waits beside it for its turn. */
export type Role = 'worker' | 'successor';

/** One word, so that no fleet and no session can have it for a part of its own. */
const SUCCESSOR_PREFIX = 'flotillanext-';

/** The one container of a session in this role, the same name at each start; by it a list tells the roles apart. */
export function containerName(fleetId: string, sessionId: string, role: Role = 'worker'): string {
  const plain = sessionId.replaceAll(/[^A-Za-z0-9_.-]/g, '_');
  const prefix = role === 'worker' ? 'flotilla-' : SUCCESSOR_PREFIX;
  return `${prefix}${fleetId}-${plain}${plain === sessionId ? '' : `-${fingerprint(sessionId)}`}`;
}

/** @param name as the engine gives it, with a slash before it */
export const roleOf = (name: string | undefined): Role =>
  name?.startsWith(`/${SUCCESSOR_PREFIX}`) ? 'successor' : 'worker';

/**
 * An address of ours as a container reaches it. What listens on every interface is told to us as loopback, which
 * within a container is the container itself.
 */
export function fromContainers(address: string): string {
  const { hostname, port } = new URL(address);
  return hostname === '127.0.0.1' || hostname === '[::1]' ? `http://${ENGINE_HOST}:${port}` : address;
}

export const networkName = (fleetId: string): string => `flotilla-${fleetId}-workers`;

/** Twelve hex digits that tell one text from another and nothing about it. */
export const fingerprint = (text: string): string =>
  createHash('sha256').update(text).digest('hex').slice(0, 12);

/** What of a spec goes into the container as files. A variable `NAME_FILE` names a file of ours: it goes along. */
export function secretFiles(spec: WorkerSpec, readFile: (path: string) => Buffer): SecretFile[] {
  return [
    ...Object.entries(spec.secrets).map(([name, value]) => ({ name, content: Buffer.from(value) })),
    ...Object.entries(spec.env)
      .filter(([name]) => name.endsWith('_FILE'))
      .map(([name, path]) => ({ name, content: readFile(path) })),
  ];
}

/**
 * How the container is made. It can write to /tmp alone, has no capability, cannot gain one, and is not started
 * again by the engine: that is for the runner to decide. Nothing secret is in here: it can be read by inspection.
 */
export function containerOptions(
  spec: WorkerSpec,
  { fleetId, image, network, role }: { fleetId: string; image: string; network: string; role?: Role },
): ContainerCreateOptions {
  const memory = spec.resources?.memory === undefined ? DEFAULT_MEMORY : bytesOf(spec.resources.memory);
  const labels = labelsOf(spec, fleetId);
  return {
    name: containerName(fleetId, spec.sessionId, role),
    Image: image,
    Labels: labels,
    Env: [
      ...Object.entries(spec.env).map(([name, value]) =>
        name.endsWith('_FILE') ? `${name}=${SECRETS_DIR}/${name}` : `${name}=${value}`,
      ),
      ...Object.keys(spec.secrets).map((name) => `${name}_FILE=${SECRETS_DIR}/${name}`),
    ],
    User: `${WORKER_USER.uid}:${WORKER_USER.gid}`,
    StopTimeout: STOP_TIMEOUT_SECONDS,
    HostConfig: {
      Init: true,
      NetworkMode: network,
      ExtraHosts: [`${ENGINE_HOST}:host-gateway`],
      RestartPolicy: { Name: 'no' },
      Memory: memory,
      MemorySwap: memory,
      NanoCpus: Math.round(Number(spec.resources?.cpu ?? DEFAULT_CPU) * 1e9),
      PidsLimit: PIDS_LIMIT,
      ReadonlyRootfs: true,
      Tmpfs: { '/tmp': 'rw,noexec,nosuid,nodev,size=16m,mode=1777' },
      // Of the container's own: it goes when the container goes, and holds the files of secrets.
      Mounts: [{ Type: 'volume', Source: '', Target: SECRETS_DIR, VolumeOptions: volumeOptions(labels) }],
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges:true'],
      Ulimits: [{ Name: 'core', Soft: 0, Hard: 0 }],
      LogConfig: { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '2' } },
    },
  };
}

const volumeOptions = (Labels: Record<string, string>) => ({
  NoCopy: true,
  Labels,
  DriverConfig: { Name: 'local', Options: {} },
});

function labelsOf(spec: WorkerSpec, fleetId: string): Record<string, string> {
  const proxy = spec.secrets.PROXY_URL;
  return {
    [LABEL.fleet]: fleetId,
    [LABEL.session]: spec.sessionId,
    [LABEL.epoch]: String(spec.epoch),
    [LABEL.generation]: String(spec.generation),
    ...(proxy === undefined ? {} : { [LABEL.proxy]: proxyMark(fleetId, proxy) }),
  };
}

export const proxyMark = (fleetId: string, proxy: string): string => fingerprint(`${fleetId}\0${proxy}`);

/** A name with its registry, tag and digest, or the id of an image. */
const REFERENCE =
  /^(?:sha256:[0-9a-f]{64}|(?:[a-zA-Z0-9.-]+(?::\d+)?\/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?)$/;

/** @throws FlotillaError 400 `invalid_image` */
export function checkReference(image: string): void {
  if (REFERENCE.test(image)) return;
  throw invalid(
    'invalid_image',
    `${image} is no name of an image, such as registry.example/flotilla-worker:1.2.`,
  );
}

/** `512m`, `2g`, `1.5g` as bytes. */
export function bytesOf(memory: string): number {
  const match = /^(\d+(?:\.\d+)?)([kmg]?)b?$/i.exec(memory);
  if (!match) throw new Error(`${memory} is not an amount of memory such as 512m`);
  const [, amount, unit = ''] = match;
  const factor = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[unit.toLowerCase()] ?? 1;
  return Math.round(Number(amount) * factor);
}
