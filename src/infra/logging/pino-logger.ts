import { destination, type Logger as Pino, pino, stdTimeFunctions } from 'pino';
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

/** JSON lines on standard output, written off the hot path; what is buffered is written when the process ends. */
export function createPinoLogger(options: { level: LogLevel; name: string }): Logger {
  const stream = destination({ fd: 1, sync: false, minLength: 0 });
  return adapt(
    pino(
      {
        level: options.level,
        base: { name: options.name },
        redact: { paths: REDACTED, censor: '[hidden]' },
        timestamp: stdTimeFunctions.isoTime,
      },
      stream,
    ),
  );
}

const adapt = (logger: Pino): Logger => ({
  debug: (fields, message) => logger.debug(fields, message),
  info: (fields, message) => logger.info(fields, message),
  warn: (fields, message) => logger.warn(fields, message),
  error: (fields, message) => logger.error(fields, message),
  child: (fields) => adapt(logger.child(fields)),
});
