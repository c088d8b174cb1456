import type { ContainerSpec, CreateServiceOptions, SecretReference } from 'dockerode';
import type { WorkerSpec } from '../../../services/fleet/ports.ts';
import { bytesOf, fingerprint, LABEL, type Role, WORKER_USER } from '../docker/container-spec.ts';

/** A secret as Swarm has it: its name there, and the file that the worker finds it in. */
export interface ServiceSecret {
  id: string;
  name: string;
  /** Of the variable. */
  variable: string;
}

/** A service that was told to stop carries it: whatever task of it is not there yet is never to start. */
export const PARKED_LABEL = 'flotilla.parked';
/** A service carries it as long as its worker waits beside another one. */
export const SUCCESSOR_LABEL = 'flotilla.successor';
/** On a node with the label `flotilla=no` no worker starts. */
const WORKER_NODES = 'node.labels.flotilla!=no';
/** No node has this id. */
const NOWHERE = 'node.id==none';

const SECRETS_DIR = '/run/secrets';
const LONGEST_SERVICE_NAME = 63;
const LONGEST_SECRET_NAME = 64;
const MEBIBYTE = 1024 * 1024;
const DEFAULT_MEMORY = 256 * MEBIBYTE;
/** So much of a node's memory is counted for each worker, so that no node gets more than it carries. */
export const RESERVED_MEMORY = 110 * MEBIBYTE;
const DEFAULT_CPU = 1;
const PIDS_LIMIT = 64;
const NANOSECONDS = 1e6;
/** Of API 1.44; the types are older. */
const NO_NEW_PRIVILEGES = { NoNewPrivileges: true } as NonNullable<ContainerSpec['Privileges']>;

/** A service keeps its name for good: a worker has the one that was free when it was made. */
const PREFIXES = ['flotilla-', 'flotillanext-'];

/** The names that services of a session have, the usual one first. */
export const serviceNames = (fleetId: string, sessionId: string): string[] =>
  PREFIXES.map((prefix) => serviceName(prefix, fleetId, sessionId));

/** The same at each start; it is also a host name, so without dots. */
function serviceName(prefix: string, fleetId: string, sessionId: string): string {
  const wanted = `${prefix}${fleetId}-${sessionId}`;
  const plain = wanted.replaceAll(/[^A-Za-z0-9-]/g, '-').replace(/-+$/, '');
  if (plain === wanted && plain.length <= LONGEST_SERVICE_NAME) return plain;
  const mark = fingerprint(`${fleetId}\0${sessionId}`);
  return `${plain.slice(0, LONGEST_SERVICE_NAME - mark.length - 1)}-${mark}`;
}

/** Of one start: the next has secrets of its own, and those of before can go. */
export function secretName(fleetId: string, spec: WorkerSpec, variable: string): string {
  const start = `flotilla-${fingerprint(`${fleetId}\0${spec.sessionId}`)}-${spec.epoch}`;
  const name = `${start}-${variable}`;
  return name.length <= LONGEST_SECRET_NAME ? name : `${start}-${fingerprint(variable)}`;
}

export function labelsOf(spec: WorkerSpec, fleetId: string): Record<string, string> {
  return {
    [LABEL.fleet]: fleetId,
    [LABEL.session]: spec.sessionId,
    [LABEL.epoch]: String(spec.epoch),
    [LABEL.generation]: String(spec.generation),
  };
}

/**
 * How the service is made: one replica that Swarm does not start again, since that is for the runner to decide.
 * Nothing secret is in here: it can be read by inspection. Swarm has no limit for swap. Engines before API 1.44
 * do not know `NoNewPrivileges` and leave it out.
 */
export function serviceOptions(
  spec: WorkerSpec,
  given: {
    name: string;
    role: Role;
    fleetId: string;
    image: string;
    network: string;
    secrets: readonly ServiceSecret[];
    /** Constraints beyond our own. */
    places: readonly string[];
    stopGraceMs: number;
  },
): CreateServiceOptions {
  const memory = spec.resources?.memory === undefined ? DEFAULT_MEMORY : bytesOf(spec.resources.memory);
  const labels = labelsOf(spec, given.fleetId);
  return {
    Name: given.name,
    Labels: given.role === 'worker' ? labels : { ...labels, [SUCCESSOR_LABEL]: 'yes' },
    Mode: { Replicated: { Replicas: 1 } },
    EndpointSpec: { Mode: 'dnsrr' },
    UpdateConfig: { Parallelism: 1, FailureAction: 'continue', Order: 'stop-first' },
    TaskTemplate: {
      RestartPolicy: { Condition: 'none', MaxAttempts: 0 },
      Placement: { Constraints: [WORKER_NODES, ...given.places] },
      Networks: [{ Target: given.network }],
      LogDriver: { Name: 'json-file', Options: { 'max-size': '1m', 'max-file': '2' } },
      Resources: {
        Limits: {
          MemoryBytes: memory,
          NanoCPUs: Math.round(Number(spec.resources?.cpu ?? DEFAULT_CPU) * 1e9),
          Pids: PIDS_LIMIT,
        },
        Reservations: { MemoryBytes: Math.min(memory, RESERVED_MEMORY) },
      },
      ContainerSpec: {
        Image: given.image,
        Labels: labels,
        Env: environmentOf(spec),
        User: `${WORKER_USER.uid}:${WORKER_USER.gid}`,
        Init: true,
        ReadOnly: true,
        CapabilityDrop: ['ALL'],
        Privileges: NO_NEW_PRIVILEGES,
        Ulimits: [{ Name: 'core', Soft: 0, Hard: 0 }],
        Mounts: [
          {
            Type: 'tmpfs',
            Source: '',
            Target: '/tmp',
            TmpfsOptions: { SizeBytes: 16 * MEBIBYTE, Mode: 0o1777 },
          },
        ],
        Secrets: given.secrets.map(reference),
        StopSignal: 'SIGTERM',
        StopGracePeriod: given.stopGraceMs * NANOSECONDS,
      },
    },
  };
}

/**
 * The same service with its task ended. With no replicas Swarm would forget the task, and how it ended; so it is
 * given a new version of it that has nowhere to run.
 */
export function parked(spec: CreateServiceOptions): CreateServiceOptions {
  return {
    ...spec,
    Labels: { ...spec.Labels, [PARKED_LABEL]: 'yes' },
    TaskTemplate: { ...spec.TaskTemplate, Placement: { Constraints: [NOWHERE] } },
  };
}

/** The same service as that of a session's worker. Its task goes on: nothing that it was made from is different. */
export function promoted(spec: CreateServiceOptions): CreateServiceOptions {
  const { [SUCCESSOR_LABEL]: _, ...labels } = spec.Labels ?? {};
  return { ...spec, Labels: labels };
}

function environmentOf(spec: WorkerSpec): string[] {
  return [
    ...Object.entries(spec.env).map(([name, value]) =>
      name.endsWith('_FILE') ? `${name}=${SECRETS_DIR}/${name}` : `${name}=${value}`,
    ),
    ...Object.keys(spec.secrets).map((name) => `${name}_FILE=${SECRETS_DIR}/${name}`),
  ];
}

const reference = ({ id, name, variable }: ServiceSecret): SecretReference => ({
  SecretID: id,
  SecretName: name,
  File: { Name: variable, UID: String(WORKER_USER.uid), GID: String(WORKER_USER.gid), Mode: 0o400 },
});
