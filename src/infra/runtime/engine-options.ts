import type { Clock } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';

/** What every runtime on Docker engines is told. */
export interface EngineRuntimeOptions {
  /** Tells the workers of this fleet from those of others on the same engines. */
  fleetId: string;
  /** Of a worker. */
  image: string;
  clock: Clock;
  log: Logger;
  /** Where the last lines of removed workers are kept; nowhere by default. */
  logDir?: string;
  /** For how long an engine may say nothing before it counts as unreachable. */
  silentMs?: number;
}
