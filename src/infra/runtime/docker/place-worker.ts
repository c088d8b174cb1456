import { unavailable } from '../../../kernel/errors.ts';
import type { WorkerSpec } from '../../../services/fleet/ports.ts';
import { proxyMark } from './container-spec.ts';
import type { EngineHost } from './engine-host.ts';
import type { HostLists } from './host-lists.ts';

/**
 * The host that was asked for; else the one with the fewest sessions of the same proxy, and among those the one with
 * the most room.
 * @throws FlotillaError `no_host_capacity`
 */
export async function placeWorker(
  spec: WorkerSpec,
  hosts: readonly EngineHost[],
  lists: HostLists,
  fleetId: string,
): Promise<EngineHost> {
  const asked = hosts.find(({ name }) => name === spec.node);
  // Whether it has room is for the plan that asked for it.
  if (asked) return asked;
  const [only] = hosts;
  if (only && hosts.length === 1 && only.capacity > lists.load(only)) return only;
  const proxy = spec.secrets.PROXY_URL;
  const mark = proxy === undefined ? null : proxyMark(fleetId, proxy);
  const answering = hosts.filter((host) => !lists.isAway(host));
  const rated = await Promise.all(
    answering.map(async (host) => {
      const marks = await host.proxyMarks();
      return {
        host,
        same: marks.filter((each) => each === mark).length,
        free: host.capacity - lists.load(host),
      };
    }),
  );
  const [best] = rated.filter(({ free }) => free > 0).sort((a, b) => a.same - b.same || b.free - a.free);
  if (!best) throw unavailable('no_host_capacity', 'No Docker host has room for another worker.');
  return best.host;
}
