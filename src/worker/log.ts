import { pino } from 'pino';
import type { Logger } from '../kernel/log.ts';
import type { LogLevel } from './config.ts';
import { LogOutput } from './log-output.ts';

/**
 * JSON lines. What the worker logs are counts, codes and ids of ours; phones, names, texts and tokens
 * never. As a second line, any run of seven digits or more in a text field is cut to its last four.
 */
export function createLogger(sessionId: string, level: LogLevel, output = new LogOutput()): Logger {
  const options = {
    level,
    base: { sessionId },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const logger = pino(options, output);
  return adapt(logger);
}

type Sink = Pick<ReturnType<typeof pino>, 'debug' | 'info' | 'warn' | 'error' | 'child'>;

function adapt(sink: Sink): Logger {
  return {
    debug: (fields, message) => sink.debug(masked(fields), message),
    info: (fields, message) => sink.info(masked(fields), message),
    warn: (fields, message) => sink.warn(masked(fields), message),
    error: (fields, message) => sink.error(masked(fields), message),
    child: (fields) => adapt(sink.child(masked(fields))),
  };
}

/** Cuts what may be a phone, a JID or a key out of a text. */
export const maskText = (text: string): string =>
  text
    .replace(/\d{3,}(\d{4})(?=[:@.\s]|$)/g, '…$1')
    .replace(/[A-Za-z0-9+/_-]{32,}={0,2}/g, '…')
    .slice(0, 500);

function masked(fields: Record<string, unknown>): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    out[name] =
      typeof value === 'string' && name !== 'taskId' && name !== 'whatsappId' ? maskText(value) : value;
  }
  return out;
}
