import { z } from 'zod';
import { DEFAULT_DOCKER_HOSTS, type DockerHost, parseDockerHosts } from '../infra/runtime/docker/hosts.ts';
import { messageOf } from '../kernel/errors.ts';
import {
  choice,
  flag,
  headerText,
  type Text,
  text,
  textOr,
  url,
  variable,
  whole,
  wholeOr,
} from './config-kinds.ts';
import { webhookVariables } from './config-webhooks.ts';

/** Every variable that the orchestrator and the dispatcher read. */
export const variables = {
  API_KEY: variable(
    'API_KEY',
    'Key of the management API (header X-API-KEY). Made at the first start in development; required in production.',
    headerText,
    undefined,
    true,
  ),
  WEBHOOK_SECRET: variable(
    'WEBHOOK_SECRET',
    'Shared secret of workers (header X-Webhook-Secret), and what their own tokens are signed with. Made at the first start in development; required in production.',
    headerText,
    undefined,
    true,
  ),
  AUTH_ENCRYPTION_KEY: variable(
    'AUTH_ENCRYPTION_KEY',
    'Encrypts the credentials of the sessions at rest: 32 bytes as hex or base64. Made at the first start and kept under DATA_DIR; give your own where several orchestrators share a database. Lost key, lost pairings.',
    z
      .string()
      .refine((v) => keyBytes(v) === 32, 'must be 32 bytes, as 64 hex digits or base64')
      .optional() as z.ZodType<Text>,
    undefined,
    true,
  ),
  PORT: variable('PORT', 'Port of the HTTP API. 0 takes a free one.', wholeOr(3000, 0, 65_535), '3000'),
  HOST: variable('HOST', 'Address to listen on.', textOr('127.0.0.1'), '127.0.0.1'),
  PUBLIC_DOCS: variable(
    'PUBLIC_DOCS',
    'Whether /docs, /openapi.json and /metrics need no key.',
    flag(true),
    'true',
  ),
  REDIS_URL: variable(
    'REDIS_URL',
    'An existing Redis or Valkey (7 or newer). Without it a server of our own is started, with its data under DATA_DIR.',
    url(/^rediss?:\/\//, 'must be a redis:// or rediss:// URL'),
    undefined,
    true,
  ),
  REDIS_FSYNC: variable(
    'REDIS_FSYNC',
    'appendfsync of our own Redis: everysec (an operating system crash may cost a second, which SQL gives back) or always.',
    choice(['always', 'everysec'], 'everysec'),
    'everysec',
  ),
  DATA_DIR: variable(
    'DATA_DIR',
    'Where everything is kept that must outlive a restart.',
    textOr('./data'),
    './data',
  ),
  DB_PATH: variable('DB_PATH', 'The SQLite file.', text, './data/orchestrator.sqlite'),
  DATABASE_URL: variable(
    'DATABASE_URL',
    'A Postgres database, instead of SQLite, for more than one host.',
    url(/^postgres(ql)?:\/\//, 'must be a postgres:// URL'),
    undefined,
    true,
  ),
  MEDIA_DIR: variable('MEDIA_DIR', 'Where images wait until they are sent.', text, './data/media'),
  AUTO_PROVISION: variable(
    'AUTO_PROVISION',
    'Whether every uploaded profile becomes a session as long as capacity allows.',
    flag(true),
    'true',
  ),
  MAX_SESSIONS: variable(
    'MAX_SESSIONS',
    'The most sessions at once. By default what the memory of the machine carries.',
    whole(1, 1_000_000).optional() as unknown as z.ZodType<number | undefined>,
  ),
  MAX_SESSIONS_PER_PROXY: variable(
    'MAX_SESSIONS_PER_PROXY',
    'The most sessions on one proxy.',
    wholeOr(4, 1, 10_000),
    '4',
  ),
  MAX_SESSIONS_PER_PHONE: variable(
    'MAX_SESSIONS_PER_PHONE',
    'The most sessions of one phone.',
    wholeOr(4, 1, 10_000),
    '4',
  ),
  PROVISIONING_INTERVAL_MS: variable(
    'PROVISIONING_INTERVAL_MS',
    'Milliseconds between two passes that start what should run.',
    wholeOr(2000, 50, 3_600_000),
    '2000',
  ),
  MONITOR_INTERVAL_MS: variable(
    'MONITOR_INTERVAL_MS',
    'Milliseconds between two passes that look after what runs.',
    wholeOr(30_000, 50, 3_600_000),
    '30000',
  ),
  STARTS_AT_ONCE: variable(
    'STARTS_AT_ONCE',
    'How many workers may be starting at the same time on one host.',
    wholeOr(4, 1, 100),
    '4',
  ),
  WORKER_RUNTIME: variable(
    'WORKER_RUNTIME',
    'What runs the workers: process, docker, swarm or supervisord.',
    choice(['process', 'docker', 'swarm', 'supervisord'], 'process'),
    'process',
  ),
  WORKER_IMAGE: variable(
    'WORKER_IMAGE',
    'The image of a worker, for docker and swarm.',
    textOr('flotilla-worker:latest'),
    'flotilla-worker:latest',
  ),
  DOCKER_HOSTS: variable(
    'DOCKER_HOSTS',
    'The engines of WORKER_RUNTIME=docker, or the managers of WORKER_RUNTIME=swarm: name=address, with commas between; to a tcp address belong a directory with ca.pem, cert.pem and key.pem, and how many workers it carries, as in b=tcp://10.0.0.2:2376?tls=/etc/flotilla/b&capacity=100. In production a tcp address without tls is refused: whoever reaches it, a worker perhaps, is root there; insecure=yes says that nobody does.',
    textOr(DEFAULT_DOCKER_HOSTS).transform((value, context) => {
      try {
        return parseDockerHosts(value);
      } catch (error) {
        context.addIssue({ code: 'custom', message: messageOf(error) });
        return z.NEVER;
      }
    }) as unknown as z.ZodType<DockerHost[]>,
    DEFAULT_DOCKER_HOSTS,
  ),
  FLEET_ID: variable(
    'FLEET_ID',
    'Tells containers of this fleet from those of others on the same engine. By default derived from WEBHOOK_SECRET, which all orchestrators of a fleet share.',
    z
      .string()
      .regex(/^[a-z0-9][a-z0-9_.-]{0,31}$/, 'must be up to 32 small letters, digits, and . _ -')
      .optional() as z.ZodType<Text>,
  ),
  ORCHESTRATOR_URL: variable(
    'ORCHESTRATOR_URL',
    'How workers, and a dispatcher of its own, reach the orchestrator. By default its own address; from containers http://host.docker.internal and the port.',
    url(/^https?:\/\/[^?#]*$/, 'must be an http:// or https:// URL without ? and #'),
  ),
  ALLOW_DIRECT: variable(
    'ALLOW_DIRECT',
    'Whether a session may be asked for without a proxy.',
    flag(false),
    'false',
  ),
  DISPATCHER: variable(
    'DISPATCHER',
    'inline: the orchestrator expands jobs itself; external: `npm run dispatcher` does.',
    choice(['inline', 'external'], 'inline'),
    'inline',
  ),
  ALERT_WEBHOOK_URL: variable(
    'ALERT_WEBHOOK_URL',
    'Receives each alert once, as a JSON POST.',
    url(/^https?:\/\//, 'must be an http:// or https:// URL'),
    undefined,
    true,
  ),
  ...webhookVariables,
  UPLOAD_MAX_BYTES: variable(
    'UPLOAD_MAX_BYTES',
    'The largest inventory file, in bytes.',
    wholeOr(268_435_456, 1024, 4_294_967_296),
    '268435456',
  ),
  TEXT_LEASE_MS: variable(
    'TEXT_LEASE_MS',
    'How long a claimed text may take before it is served again.',
    wholeOr(60_000, 100, 86_400_000),
    '60000',
  ),
  MEDIA_LEASE_MS: variable(
    'MEDIA_LEASE_MS',
    'The same for a message with media.',
    wholeOr(600_000, 100, 86_400_000),
    '600000',
  ),
  MAX_DELIVERIES: variable(
    'MAX_DELIVERIES',
    'Deliveries without an outcome before a task is dead.',
    wholeOr(5, 1, 1000),
    '5',
  ),
  PROMISE_TASKS_IN: variable(
    'PROMISE_TASKS_IN',
    'Where a task that is enqueued directly is before the answer: sql, or redis, which costs less, but a Redis that is lost takes the last moment along, and repeats are recognised only as far back as ENDED_IDS_HOURS and ENDED_IDS_COUNT reach. Jobs are always in SQL.',
    choice(['sql', 'redis'], 'sql'),
    'sql',
  ),
  RETENTION_DAYS: variable(
    'RETENTION_DAYS',
    'Finished jobs, tasks and events are deleted after so many days, and dead tasks leave the lists of their sessions.',
    wholeOr(30, 1, 3650),
    '30',
  ),
  RETENTION_ROWS: variable(
    'RETENTION_ROWS',
    'Of finished tasks, jobs and events no more than so many are kept, each, however new they are.',
    wholeOr(2_000_000, 1000, 1_000_000_000),
    '2000000',
  ),
  ENDED_IDS_HOURS: variable(
    'ENDED_IDS_HOURS',
    'For how long Redis keeps the ids of finished tasks, to recognise a repeat at once. Older repeats are recognised by the database.',
    wholeOr(24, 1, 8760),
    '24',
  ),
  ENDED_IDS_COUNT: variable(
    'ENDED_IDS_COUNT',
    'How many of them per session, at most.',
    wholeOr(1000, 1, 1_000_000),
    '1000',
  ),
  DEAD_TASKS_COUNT: variable(
    'DEAD_TASKS_COUNT',
    'How many dead tasks per session stay on its list, for a replay; the newest. Looked at once an hour. The database knows of the others as long as of other finished tasks.',
    wholeOr(10_000, 1, 1_000_000),
    '10000',
  ),
  LOG_LEVEL: variable(
    'LOG_LEVEL',
    'debug, info, warn, error or silent.',
    choice(['debug', 'info', 'warn', 'error', 'silent'], 'info'),
    'info',
  ),
  LOG_ONE_REQUEST_IN: variable(
    'LOG_ONE_REQUEST_IN',
    'Of enqueues and of requests of workers one in so many is logged, at info; of all other requests each, but probes and scrapes. 0 logs none.',
    wholeOr(1000, 0, 1_000_000),
    '1000',
  ),
  WHATSAPP_VERSION: variable(
    'WHATSAPP_VERSION',
    'Pins the WhatsApp web version, such as 2.3000.1023456789. Otherwise fetched and cached.',
    z
      .string()
      .regex(/^\d+\.\d+\.\d+$/, 'must be three numbers with dots, such as 2.3000.1023456789')
      .optional() as z.ZodType<Text>,
  ),
  WHATSAPP_WS_URL: variable(
    'WHATSAPP_WS_URL',
    'Another server than WhatsApp, such as the simulator.',
    url(/^wss?:\/\//, 'must be a ws:// or wss:// URL'),
  ),
  WHATSAPP_ROOT_KEY: variable(
    'WHATSAPP_ROOT_KEY',
    'The root public key of that server, 32 bytes as base64.',
    z
      .string()
      .refine((v) => Buffer.from(v, 'base64').length === 32, 'must be 32 bytes as base64')
      .optional() as z.ZodType<Text>,
  ),
  WHATSAPP_CA_FILE: variable(
    'WHATSAPP_CA_FILE',
    "A PEM file with the certificate authority of that server's media host.",
    text,
  ),
};

function keyBytes(value: string): number {
  return /^[0-9a-f]{64}$/i.test(value) ? 32 : Buffer.from(value, 'base64').length;
}
