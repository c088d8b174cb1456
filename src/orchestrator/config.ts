import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { type DockerHost, unprotected } from '../infra/runtime/docker/hosts.ts';
import type { ConfigVariable } from './config-kinds.ts';
import { variables } from './config-variables.ts';
import { isAmong, type SigningKey } from './config-webhooks.ts';

/** Everything that can be set, parsed. Paths are absolute. Null where nothing was given and there is no default. */
export interface Config {
  production: boolean;
  apiKey: string | null;
  webhookSecret: string | null;
  authEncryptionKey: string | null;
  port: number;
  host: string;
  publicDocs: boolean;
  redisUrl: string | null;
  redisFsync: 'always' | 'everysec';
  /** Where programs such as a Redis server are looked for. */
  searchPath: string;
  dataDir: string;
  dbPath: string;
  databaseUrl: string | null;
  mediaDir: string;
  autoProvision: boolean;
  maxSessions: number;
  maxSessionsPerProxy: number;
  maxSessionsPerPhone: number;
  provisioningIntervalMs: number;
  monitorIntervalMs: number;
  startsAtOnce: number;
  workerRuntime: 'process' | 'docker' | 'swarm' | 'supervisord';
  workerImage: string;
  dockerHosts: DockerHost[];
  fleetId: string | null;
  orchestratorUrl: string | null;
  allowDirect: boolean;
  dispatcher: 'inline' | 'external';
  alertWebhookUrl: string | null;
  webhooks: {
    /** None leaves them unsigned. */
    signingKeys: SigningKey[];
    allowPrivate: boolean;
    timeoutMs: number;
    retryForMs: number;
    /** Events per session, waiting and given up, each. */
    backlog: number;
    atOnce: number;
    atOncePerHost: number;
  };
  uploadMaxBytes: number;
  textLeaseMs: number;
  mediaLeaseMs: number;
  maxDeliveries: number;
  promiseTasksIn: 'sql' | 'redis';
  retentionDays: number;
  /** Of tasks, jobs and events, each. */
  retentionRows: number;
  endedIdsHours: number;
  endedIdsCount: number;
  deadTasksCount: number;
  logOneRequestIn: number;
  logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  whatsappVersion: string | null;
  whatsappWsUrl: string | null;
  whatsappRootKey: string | null;
  whatsappCaFile: string | null;
}

/** A bad variable. Its message is one line that names the variable and says what it must be. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

type Environment = Record<string, string | undefined>;

/**
 * Reads the environment. An empty value counts as not given; a secret may come as `NAME_FILE`.
 * @throws ConfigError on the first bad variable
 */
export function loadConfig(env: Environment = process.env): Config {
  const read = <T>(variable: ConfigVariable<T>): T => {
    const raw = rawValue(variable, env);
    const result = variable.schema.safeParse(raw);
    if (result.success) return result.data;
    const rule = result.error.issues[0]?.message ?? 'is not valid';
    throw new ConfigError(
      `${variable.name} ${rule}${variable.secret || raw === undefined ? '' : `, not ${JSON.stringify(raw)}`}.`,
    );
  };
  const v = variables;
  const dataDir = resolve(read(v.DATA_DIR));
  const inDataDir = (given: string | undefined, fallback: string): string =>
    given ? resolve(given) : join(dataDir, fallback);
  const config: Config = {
    production: env.NODE_ENV === 'production',
    apiKey: read(v.API_KEY) ?? null,
    webhookSecret: read(v.WEBHOOK_SECRET) ?? null,
    authEncryptionKey: read(v.AUTH_ENCRYPTION_KEY) ?? null,
    port: read(v.PORT),
    host: read(v.HOST),
    publicDocs: read(v.PUBLIC_DOCS),
    redisUrl: read(v.REDIS_URL) ?? null,
    redisFsync: read(v.REDIS_FSYNC),
    searchPath: env.PATH ?? '',
    dataDir,
    dbPath: inDataDir(read(v.DB_PATH), 'orchestrator.sqlite'),
    databaseUrl: read(v.DATABASE_URL) ?? null,
    mediaDir: inDataDir(read(v.MEDIA_DIR), 'media'),
    autoProvision: read(v.AUTO_PROVISION),
    maxSessions: read(v.MAX_SESSIONS) ?? sessionsThatFit(memoryForUs()),
    maxSessionsPerProxy: read(v.MAX_SESSIONS_PER_PROXY),
    maxSessionsPerPhone: read(v.MAX_SESSIONS_PER_PHONE),
    provisioningIntervalMs: read(v.PROVISIONING_INTERVAL_MS),
    monitorIntervalMs: read(v.MONITOR_INTERVAL_MS),
    startsAtOnce: read(v.STARTS_AT_ONCE),
    workerRuntime: read(v.WORKER_RUNTIME),
    workerImage: read(v.WORKER_IMAGE),
    dockerHosts: read(v.DOCKER_HOSTS),
    fleetId: read(v.FLEET_ID) ?? null,
    orchestratorUrl: read(v.ORCHESTRATOR_URL) ?? null,
    allowDirect: read(v.ALLOW_DIRECT),
    dispatcher: read(v.DISPATCHER),
    alertWebhookUrl: read(v.ALERT_WEBHOOK_URL) ?? null,
    webhooks: {
      signingKeys: read(v.WEBHOOK_SIGNING_SECRET),
      allowPrivate: read(v.WEBHOOK_ALLOW_PRIVATE),
      timeoutMs: read(v.WEBHOOK_TIMEOUT_MS),
      retryForMs: read(v.WEBHOOK_RETRY_FOR_MS),
      backlog: read(v.WEBHOOK_BACKLOG),
      atOnce: read(v.WEBHOOKS_AT_ONCE),
      atOncePerHost: read(v.WEBHOOKS_AT_ONCE_PER_HOST),
    },
    uploadMaxBytes: read(v.UPLOAD_MAX_BYTES),
    textLeaseMs: read(v.TEXT_LEASE_MS),
    mediaLeaseMs: read(v.MEDIA_LEASE_MS),
    maxDeliveries: read(v.MAX_DELIVERIES),
    promiseTasksIn: read(v.PROMISE_TASKS_IN),
    retentionDays: read(v.RETENTION_DAYS),
    retentionRows: read(v.RETENTION_ROWS),
    endedIdsHours: read(v.ENDED_IDS_HOURS),
    endedIdsCount: read(v.ENDED_IDS_COUNT),
    deadTasksCount: read(v.DEAD_TASKS_COUNT),
    logOneRequestIn: read(v.LOG_ONE_REQUEST_IN),
    logLevel: read(v.LOG_LEVEL),
    whatsappVersion: read(v.WHATSAPP_VERSION) ?? null,
    whatsappWsUrl: read(v.WHATSAPP_WS_URL) ?? null,
    whatsappRootKey: read(v.WHATSAPP_ROOT_KEY) ?? null,
    whatsappCaFile: certificateFile(read(v.WHATSAPP_CA_FILE)),
  };
  if (isAmong(config.webhooks.signingKeys, config.webhookSecret)) {
    throw new ConfigError('WEBHOOK_SIGNING_SECRET must not be WEBHOOK_SECRET: receivers know it.');
  }
  if (config.production) refuseInsecure(config);
  if (config.production) refuseUnprotected(config);
  if (config.workerRuntime === 'docker') refuseUnreachable(config);
  if (config.workerRuntime === 'swarm') refuseUnreachableFromNodes(config);
  return config;
}

function rawValue(variable: ConfigVariable<unknown>, env: Environment): string | undefined {
  const direct = env[variable.name]?.trim() || undefined;
  const file = variable.secret ? env[`${variable.name}_FILE`]?.trim() || undefined : undefined;
  if (!file) return direct;
  if (direct) throw new ConfigError(`${variable.name} and ${variable.name}_FILE are both set; keep one.`);
  try {
    return readFileSync(file, 'utf8').trim() || undefined;
  } catch {
    throw new ConfigError(`${variable.name}_FILE names a file that cannot be read.`);
  }
}

function refuseInsecure(config: Config): void {
  const missing = [config.apiKey ? null : 'API_KEY', config.webhookSecret ? null : 'WEBHOOK_SECRET'].filter(
    (name) => name !== null,
  );
  if (missing.length > 0) {
    throw new ConfigError(
      `${missing.join(' and ')} must be set in production (or ${missing.map((n) => `${n}_FILE`).join(', ')}).`,
    );
  }
  for (const [name, value] of [
    ['API_KEY', config.apiKey],
    ['WEBHOOK_SECRET', config.webhookSecret],
  ] as const) {
    if (value !== null && value.length < 8)
      throw new ConfigError(`${name} must have at least 8 characters in production.`);
  }
}

/** A worker reaches what its host listens on. */
function refuseUnprotected({ workerRuntime, dockerHosts }: Config): void {
  const names = workerRuntime === 'docker' || workerRuntime === 'swarm' ? unprotected(dockerHosts) : [];
  if (names.length === 0) return;
  throw new ConfigError(
    `DOCKER_HOSTS names an engine without TLS (${names.join(', ')}): whoever reaches it is root there, and workers may. Give it tls=/dir, or insecure=yes if nobody else reaches it.`,
  );
}

/** Within a container the loopback address is the container's own. */
function refuseUnreachable({ host, orchestratorUrl }: Config): void {
  if (orchestratorUrl !== null && isLoopback(new URL(orchestratorUrl).hostname)) {
    throw new ConfigError('ORCHESTRATOR_URL names an address that containers cannot reach; name another.');
  }
  if (orchestratorUrl === null && isLoopback(host)) {
    throw new ConfigError(
      `HOST ${host} cannot be reached from containers: set HOST=0.0.0.0 or an address of this machine, or set ORCHESTRATOR_URL.`,
    );
  }
}

/** Which machine a worker will run on is not known: our own address as we know it may mean another one there. */
function refuseUnreachableFromNodes({ orchestratorUrl }: Config): void {
  if (orchestratorUrl === null || isLoopback(new URL(orchestratorUrl).hostname)) {
    throw new ConfigError(
      'ORCHESTRATOR_URL must be set with WORKER_RUNTIME=swarm, to an address that every node can reach.',
    );
  }
}

const isLoopback = (host: string): boolean => /^(localhost|127(\.\d+){3}|::1|\[::1\])$/i.test(host);

/** Looked into here, since every worker would otherwise fail on it, each by itself and without end. */
function certificateFile(path: string | undefined): string | null {
  if (!path) return null;
  const file = resolve(path);
  let pem: string;
  try {
    pem = readFileSync(file, 'utf8');
  } catch {
    throw new ConfigError(`WHATSAPP_CA_FILE names a file that cannot be read: ${file}.`);
  }
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) {
    throw new ConfigError(`WHATSAPP_CA_FILE must be a PEM file with a certificate, which ${file} is not.`);
  }
  return file;
}

/** Within a container its limit counts, not the machine. 0 or a huge number mean that there is none. */
function memoryForUs(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

const MEMORY_PER_SESSION = 110 * 1024 * 1024;
const MEMORY_FOR_THE_REST = 1024 * 1024 * 1024;

/** How many worker processes the machine's memory carries, leaving 1 GiB for everything else; at least 4. */
export function sessionsThatFit(totalBytes: number): number {
  return Math.max(4, Math.floor((totalBytes - MEMORY_FOR_THE_REST) / MEMORY_PER_SESSION));
}
