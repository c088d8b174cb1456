import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createPinoLogger } from '../infra/logging/pino-logger.ts';
import { startManagedRedis } from '../infra/redis/managed-server.ts';
import { lockDataDirectory } from '../infra/single-instance.ts';
import { systemClock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import { ReleaseStack } from '../kernel/lifecycle.ts';
import { compose } from './compose.ts';
import { loadConfig } from './config.ts';
import { openStorage } from './open-storage.ts';
import { loadSecrets } from './secrets-file.ts';

/** Errors whose message is already the one line that a person needs. */
const EXPLAINED = new Set([
  'ConfigError',
  'AlreadyRunningError',
  'DataDirectoryError',
  'NoRedisServerError',
  'RedisPreflightError',
  'ServerStartError',
  'RuntimeNotInBuildError',
  'AuthKeyError',
]);

const CACHE_DIR = join(import.meta.dirname, '..', '..', '.cache');

async function main(): Promise<void> {
  const config = loadConfig();
  const log = createPinoLogger({ level: config.logLevel, name: 'orchestrator' });
  const releases = new ReleaseStack(log);
  const stopped = onSignal((signal) => {
    log.info({ signal }, 'stopping');
    return releases.release();
  });
  try {
    const lock = lockDataDirectory(config.dataDir);
    releases.push('data directory', () => lock.release());
    const secrets = loadSecrets(config);
    const redis = await startManagedRedis({
      redisUrl: config.redisUrl,
      dataDir: config.dataDir,
      cacheDir: CACHE_DIR,
      searchPath: config.searchPath,
      appendFsync: config.redisFsync,
      clock: systemClock,
      log,
    });
    releases.push('redis server', () => redis.stop());
    log.info({ source: redis.source }, redis.description);
    const database = await openStorage(config);
    releases.push('database', () => database.close());
    const orchestrator = await compose({
      config,
      secrets,
      redisUrl: redis.url,
      database,
      version: packageVersion(),
      clock: systemClock,
      log,
    });
    releases.push('orchestrator', () => orchestrator.stop());
    const address = await orchestrator.start();
    lock.announce(address);
    log.info({ address, docs: `${address}/docs`, pid: process.pid }, 'Flotilla runs');
    if (secrets.file) log.info({ file: secrets.file }, 'keys that were not given are in this file');
    if (process.stdout.isTTY) process.stdout.write(welcome(address, secrets.file));
  } catch (error) {
    await releases.release();
    throw error;
  }
  await stopped;
}

/** For a person at a terminal; programs read the log lines. */
const welcome = (address: string, secretsFile: string | null): string =>
  `\n  Flotilla runs at ${address} (API: ${address}/docs)\n${secretsFile ? `  keys: ${secretsFile}\n` : ''}  Ctrl-C stops it\n\n`;

function packageVersion(): string {
  const file = join(import.meta.dirname, '..', '..', 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

/** Runs `stop` at the first signal; a second one ends the process at once. */
function onSignal(stop: (signal: string) => Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (stopping) process.exit(130);
        stopping = true;
        void stop(signal).finally(() => {
          resolve();
          process.exit(0);
        });
      });
    }
  });
}

main().catch((error: unknown) => {
  const explained = error instanceof Error && EXPLAINED.has(error.name);
  process.stderr.write(
    `${explained || !(error instanceof Error) ? messageOf(error) : (error.stack ?? error.message)}\n`,
  );
  process.exit(1);
});
