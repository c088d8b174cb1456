import { messageOf } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';

/** The logger that Baileys asks for (pino's). */
export interface BaileysLogger {
  level: string;
  child(fields: Record<string, unknown>): BaileysLogger;
  trace(fields: unknown, message?: string): void;
  debug(fields: unknown, message?: string): void;
  info(fields: unknown, message?: string): void;
  warn(fields: unknown, message?: string): void;
  error(fields: unknown, message?: string): void;
}

/**
 * Lets through what Baileys warns of, at our `debug` level and without its fields: those hold whole nodes, JIDs,
 * names and keys. What a person must know is logged by the worker itself, from the causes.
 */
export function baileysLogger(log: Logger): BaileysLogger {
  const pass = (fields: unknown, message?: string) => {
    const text = typeof fields === 'string' ? fields : (message ?? '');
    log.debug({ from: 'baileys', ...errorIn(fields) }, withoutAddresses(text));
  };
  const drop = () => undefined;
  const logger: BaileysLogger = {
    level: 'warn',
    child: () => logger,
    trace: drop,
    debug: drop,
    info: drop,
    warn: pass,
    error: pass,
  };
  return logger;
}

function errorIn(fields: unknown): { error?: string } {
  if (typeof fields !== 'object' || fields === null) return {};
  const { err, error, trace } = fields as Record<string, unknown>;
  if (err instanceof Error || error instanceof Error) return { error: messageOf(err ?? error) };
  return typeof trace === 'string' ? { error: trace.split('\n')[0] ?? '' } : {};
}

const withoutAddresses = (text: string): string => text.replace(/[\w.:-]*@[\w.]+|\d{6,}/g, '…');
