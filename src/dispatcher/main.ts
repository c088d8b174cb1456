import { DEFAULT_LEASE_POLICY } from '../domain/task.ts';
import { openDatabase } from '../infra/database/database.ts';
import { createPinoLogger } from '../infra/logging/pino-logger.ts';
import { createRedis } from '../infra/redis/client.ts';
import { RedisOutboxStore } from '../infra/redis/outbox-store.ts';
import { ScriptRunner } from '../infra/redis/scripts.ts';
import { systemClock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import { ReleaseStack } from '../kernel/lifecycle.ts';
import { ConfigError, loadConfig } from '../orchestrator/config.ts';
import { createDispatcherService } from './dispatcher-service.ts';
import { createHttpTaskSink } from './http-task-sink.ts';

/**
 * The dispatcher as a process of its own, beside an orchestrator with `DISPATCHER=external`: the same Redis, the
 * same database, and tasks handed over through the orchestrator's HTTP endpoint.
 */
async function main(): Promise<void> {
  const config = loadConfig();
  const redisUrl = required('REDIS_URL', config.redisUrl);
  const url = required('ORCHESTRATOR_URL', config.orchestratorUrl);
  const apiKey = required('API_KEY', config.apiKey);
  const log = createPinoLogger({ level: config.logLevel, name: 'dispatcher' });
  const releases = new ReleaseStack(log);

  const database = await openDatabase(
    config.databaseUrl ? { postgresUrl: config.databaseUrl } : { sqlitePath: config.dbPath },
  );
  releases.push('database', () => database.close());
  const redis = createRedis({ url: redisUrl, name: 'dispatcher-commands', log });
  releases.push('redis', () => redis.disconnect());
  const sink = createHttpTaskSink({ url, apiKey });
  releases.push('http', () => sink.close());
  const service = createDispatcherService({
    redisUrl,
    database,
    depths: new RedisOutboxStore({ redis, scripts: new ScriptRunner(redis), leases: DEFAULT_LEASE_POLICY }),
    sink,
    clock: systemClock,
    log,
  });
  releases.push('dispatcher', () => service.stop());
  await service.start();
  log.info({ orchestrator: new URL(url).origin }, 'dispatcher runs');

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log.info({ signal }, 'dispatcher stops');
      void releases.release();
    });
  }
}

function required(name: string, value: string | null): string {
  if (value === null) throw new ConfigError(`${name} must be set for a dispatcher of its own.`);
  return value;
}

main().catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof ConfigError ? error.message : `dispatcher: ${messageOf(error)}`}\n`,
  );
  process.exitCode = 1;
});
