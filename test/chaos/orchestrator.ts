import { join } from 'node:path';
import { createPinoLogger } from '../../src/infra/logging/pino-logger.ts';
import { lockDataDirectory } from '../../src/infra/single-instance.ts';
import { systemClock } from '../../src/kernel/clock.ts';
import { messageOf } from '../../src/kernel/errors.ts';
import { compose } from '../../src/orchestrator/compose.ts';
import { loadConfig } from '../../src/orchestrator/config.ts';
import { openStorage } from '../../src/orchestrator/open-storage.ts';
import { loadSecrets } from '../../src/orchestrator/secrets-file.ts';

/** The orchestrator as `npm start` runs it, with light workers that send to the recorder, or with `real` ones. */
async function main(): Promise<void> {
  const config = loadConfig();
  const log = createPinoLogger({ level: config.logLevel, name: 'orchestrator' });
  const lock = lockDataDirectory(config.dataDir);
  const database = await openStorage(config);
  if (config.redisUrl === null) throw new Error('REDIS_URL is missing');
  const orchestrator = await compose({
    config,
    secrets: loadSecrets(config),
    redisUrl: config.redisUrl,
    database,
    version: 'chaos',
    clock: systemClock,
    log,
    ...(process.argv[2] === 'real' ? {} : { workerEntry: join(import.meta.dirname, 'worker.mjs') }),
  });
  process.once('SIGTERM', () => {
    void orchestrator
      .stop()
      .then(() => database.close())
      .then(() => lock.release())
      .finally(() => process.exit(0));
  });
  const address = await orchestrator.start();
  lock.announce(address);
  log.info({ address }, 'runs');
}

main().catch((error: unknown) => {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exit(1);
});
