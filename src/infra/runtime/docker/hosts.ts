/** A Docker engine that workers may run on. */
export interface DockerHost {
  /** Shown as the node of a session. */
  name: string;
  /** `unix:///var/run/docker.sock` or `tcp://host:2376`. */
  address: string;
  /** Directory with `ca.pem`, `cert.pem` and `key.pem`; null without TLS. */
  tlsDir: string | null;
  /** The most workers there. */
  capacity: number;
  /** Somebody has said that nobody else reaches its address, which asks for no certificate. */
  insecure?: true;
}

export const DEFAULT_DOCKER_HOSTS = 'local=unix:///var/run/docker.sock';
const SETTINGS = new Set(['capacity', 'tls', 'insecure']);
/** The capacity of a host that names none. */
export const NO_LIMIT = 1_000_000;

/**
 * Reads `name=address?capacity=100&tls=/dir`, several of them with commas between; `insecure=yes` is for an address
 * without certificates that nobody else reaches.
 * @throws Error whose message is the rest of a sentence that begins with the variable
 */
export function parseDockerHosts(text: string): DockerHost[] {
  const hosts = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
    .map(parseHost);
  if (hosts.length === 0) throw new Error('must name at least one host');
  if (new Set(hosts.map(({ name }) => name)).size < hosts.length) throw new Error('names a host twice');
  return hosts;
}

function parseHost(entry: string): DockerHost {
  const match = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,62})=((?:unix|tcp):\/\/[^?]+)(?:\?(.*))?$/.exec(entry);
  if (!match)
    throw new Error('must look like name=unix:///path or name=tcp://host:port?tls=/dir&capacity=100');
  const [, name = '', address = '', query = ''] = match;
  const wishes = new URLSearchParams(query);
  const unknown = [...wishes.keys()].find((key) => !SETTINGS.has(key));
  if (unknown !== undefined) throw new Error(`has the unknown setting ${unknown} for ${name}`);
  if (address.startsWith('tcp:') && !/^tcp:\/\/(\[[^\]]+\]|[^:/]+):\d+$/.test(address)) {
    throw new Error(`must give ${name} a host and a port`);
  }
  const capacity = Number(wishes.get('capacity') ?? NO_LIMIT);
  if (!Number.isInteger(capacity) || capacity < 0)
    throw new Error(`has no whole number as capacity of ${name}`);
  const insecure = wishes.get('insecure');
  if (insecure !== null && insecure !== 'yes')
    throw new Error(`may say insecure=yes for ${name}, nothing else`);
  return { name, address, tlsDir: wishes.get('tls'), capacity, ...(insecure ? { insecure: true } : {}) };
}

/** Hosts on which whoever reaches the engine's port is root, and nobody has said that this is as it should be. */
export const unprotected = (hosts: readonly DockerHost[]): string[] =>
  hosts
    .filter(({ address, tlsDir, insecure }) => address.startsWith('tcp:') && tlsDir === null && !insecure)
    .map(({ name }) => name);
