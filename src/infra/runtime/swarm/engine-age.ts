import type { Logger } from '../../../kernel/log.ts';
import type { SwarmManagers } from './managers.ts';

/** The first API, of engine 25.0, that takes `NoNewPrivileges` from a service. */
const SINCE = '1.44';

/** Says at the start that an older swarm leaves one of the workers' limits out; whether the nodes make up for it cannot be asked. */
export async function warnOfOldEngine(managers: SwarmManagers, log: Logger): Promise<void> {
  const { ApiVersion: api } = await managers.ask((docker) => docker.version());
  if (!isOlder(api, SINCE)) return;
  const advice = 'set "no-new-privileges": true in the daemon.json of each node';
  log.warn({ api, needed: SINCE }, `this swarm takes no NoNewPrivileges from a service: ${advice}`);
}

/** Whether one `major.minor` comes before another. */
function isOlder(version: string, other: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [otherMajor = 0, otherMinor = 0] = other.split('.').map(Number);
  return major < otherMajor || (major === otherMajor && minor < otherMinor);
}
