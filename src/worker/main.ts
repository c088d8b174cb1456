import { systemClock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/log.ts';
import { ConfigError, loadConfig } from './config.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { createLogger } from './log.ts';
import { loadProvider, providerNames } from './providers/registry.ts';
import { silenceConsole } from './silence-console.ts';
import { Worker } from './worker.ts';

/** Everything of an orderly stop fits well into this. */
const LAST_RESORT_MS = 9_500;

async function main(): Promise<void> {
  silenceConsole();
  const config = loadConfig();
  const createProvider = await loadProvider(config.provider);
  if (!createProvider) throw new ConfigError('PROVIDER', `is not one of ${providerNames().join(', ')}`);
  const log = createLogger(config.sessionId, config.logLevel);
  guardProcess(log);
  const worker = new Worker({ config, createProvider, clock: systemClock, log });
  stopWithProcess(worker, log);
  await worker.start();
  const code = await worker.ended;
  log.info({ code }, 'exit');
  process.exit(code);
}

function guardProcess(log: Logger): void {
  // Baileys lets promises of its socket handlers go unheard when the connection breaks under them.
  process.on('unhandledRejection', (error) => log.warn({ error: messageOf(error) }, 'unhandled rejection'));
  process.on('uncaughtException', (error) => {
    log.error({ error: messageOf(error), stack: error.stack?.split('\n')[1]?.trim() }, 'uncaught exception');
    process.exit(EXIT.crashed);
  });
  // Whoever read our log is gone; that is no reason to die in the middle of a send.
  process.stdout.on('error', () => undefined);
}

function stopWithProcess(worker: Worker, log: Logger): void {
  const stop = () => {
    void worker.stop();
    void systemClock.sleep(LAST_RESORT_MS).then(() => process.exit(EXIT.stopped));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('disconnect', () => {
    log.warn({}, 'the process that started this one is gone');
    process.exit(EXIT.orphaned);
  });
}

main().catch((error: unknown) => {
  const code: ExitCode = error instanceof ConfigError ? EXIT.badConfig : EXIT.crashed;
  const fields = { level: 'error', time: new Date(systemClock.nowMs()).toISOString(), code };
  process.stderr.write(`${JSON.stringify({ ...fields, msg: messageOf(error) })}\n`);
  process.exit(code);
});
