import { destination, type Logger as Pino, pino } from 'pino';
import type { Logger } from '../../kernel/log.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** What must not reach a log even if someone hands it over. */
const REDACTED = [
  'apiKey',
  'token',
  'secret',
  'password',
  'authorization',
  'phone',
  'text',
  '*.apiKey',
  '*.token',
  '*.secret',
  '*.password',
  '*.phone',
  '*.text',
];

/** JSON lines on standard output, buffered off the hot path; `flush` before the process ends. */
export function createLogger(level: LogLevel, name: string): { log: Logger; flush(): void } {
  const stream = destination({ fd: 1, sync: false, minLength: 4096 });
  const logger = pino(
    {
      level,
      name,
      base: { name },
      redact: { paths: REDACTED, censor: '[hidden]' },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    stream,
  );
  return { log: adapt(logger), flush: () => stream.flushSync() };
}

const adapt = (logger: Pino): Logger => ({
  debug: (fields, message) => logger.debug(fields, message),
  info: (fields, message) => logger.info(fields, message),
  warn: (fields, message) => logger.warn(fields, message),
  error: (fields, message) => logger.error(fields, message),
  child: (fields) => adapt(logger.child(fields)),
});
