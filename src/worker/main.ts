import { systemClock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/log.ts';
import { ConfigError, loadConfig } from './config.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { createLogger } from './log.ts';
import { LogOutput } from './log-output.ts';
import { watchParent } from './parent.ts';
import { loadProvider, providerNames } from './providers/registry.ts';
import { silenceConsole } from './silence-console.ts';
import { Worker } from './worker.ts';

/** Everything of an orderly stop fits well into this. */
const LAST_RESORT_MS = 9_500;
/** After this without an answer a worker whose parent is gone has nobody to work for. */
const ORPHAN_SILENT_MS = 20_000;
const ORPHAN_LOOK_MS = 1_000;

async function main(): Promise<void> {
  silenceConsole();
  let onParentGone: (logFile: string | null) => void = () => process.exit(EXIT.orphaned);
  watchParent((logFile) => onParentGone(logFile));
  const config = loadConfig();
  const createProvider = await loadProvider(config.provider);
  if (!createProvider) throw new ConfigError('PROVIDER', `is not one of ${providerNames().join(', ')}`);
  const output = new LogOutput();
  const log = createLogger(config.sessionId, config.logLevel, output);
  guardProcess(log);
  const worker = new Worker({ config, createProvider, clock: systemClock, log });
  stopOnSignal(worker);
  onParentGone = (logFile) => {
    if (logFile !== null) output.moveTo(logFile);
    log.warn({ goesOn: logFile !== null }, 'the process that started this one is gone');
    if (logFile === null) process.exit(EXIT.orphaned);
    void untilForgotten(worker).then(() => process.exit(EXIT.orphaned));
  };
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
  // Whoever read our output is gone; that is no reason to die in the middle of a send.
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
}

function stopOnSignal(worker: Worker): void {
  const stop = () => {
    void worker.stop();
    void systemClock.sleep(LAST_RESORT_MS).then(() => process.exit(EXIT.stopped));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

/** Whoever follows the process that started us answers our signs of life. */
async function untilForgotten(worker: Worker): Promise<void> {
  const since = systemClock.monotonicMs();
  while (Math.min(worker.silentMs, systemClock.monotonicMs() - since) < ORPHAN_SILENT_MS) {
    await systemClock.sleep(ORPHAN_LOOK_MS);
  }
}

main().catch((error: unknown) => {
  const code: ExitCode = error instanceof ConfigError ? EXIT.badConfig : EXIT.crashed;
  const fields = { level: 'error', time: new Date(systemClock.nowMs()).toISOString(), code };
  process.stderr.write(`${JSON.stringify({ ...fields, msg: messageOf(error) })}\n`);
  process.exit(code);
});
