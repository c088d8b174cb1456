import type { Logger } from '../../../kernel/log.ts';

/** Of what an engine tells about itself; null where it has nothing to warn of. */
export interface EngineWarnings {
  Name?: string;
  Warnings?: readonly string[] | null;
}

/** Addresses at which an engine says that it asks nobody for a certificate. */
export const openAddresses = ({ Warnings: warnings }: EngineWarnings): string[] =>
  (warnings ?? []).flatMap((text) => /API is accessible on (\S+) without/.exec(text)?.[1] ?? []);

/**
 * Says at the start that an engine listens where workers may reach it, whatever address we use ourselves. They are on
 * its host, and whoever reaches that port is root there.
 */
export function warnOfOpenEngine(host: string, info: EngineWarnings, log: Logger): void {
  const addresses = openAddresses(info);
  if (addresses.length === 0) return;
  const advice = 'let it listen on its socket alone, or with --tlsverify';
  log.warn(
    { host, addresses },
    `this engine makes root of whoever reaches it, and its workers may: ${advice}`,
  );
}
