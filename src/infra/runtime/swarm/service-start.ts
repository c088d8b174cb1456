import { readFileSync } from 'node:fs';
import type { Clock } from '../../../kernel/clock.ts';
import { unavailable } from '../../../kernel/errors.ts';
import type { EnsureOptions, ObservedWorker, WorkerSpec } from '../../../services/fleet/ports.ts';
import type { Role } from '../docker/container-spec.ts';
import { statusOf } from '../docker/engine-errors.ts';
import type { FleetNetwork } from './fleet-network.ts';
import type { FleetSecrets } from './fleet-secrets.ts';
import { exactImage } from './image-reference.ts';
import { isNetworkGone, type SwarmManagers } from './managers.ts';
import { serviceNames, serviceOptions } from './service-spec.ts';
import { nodeConstraints } from './swarm-nodes.ts';
import type { SwarmView } from './swarm-view.ts';
import { isBeforeStart } from './worker-of-service.ts';

export interface ServiceStartDeps {
  managers: SwarmManagers;
  network: FleetNetwork;
  secrets: FleetSecrets;
  view: SwarmView;
  fleetId: string;
  /** Unless a worker has one of its own. */
  image: string;
  stopGraceMs: number;
  placedWithinMs?: number | undefined;
  clock: Clock;
}

/** Why a start has no worker, in Swarm's words. */
export interface Refusal {
  why: string;
  /** A node had taken it. */
  placed: boolean;
  /** The network that this node cannot use any more. */
  staleNetwork?: string;
}

const LOOK_EVERY_MS = 100;
/** For a place on a node, which may become free. */
const PLACED_WITHIN_MS = 10_000;
const SAY_EVERY_MS = 2000;
/** For the rest, which may include the pull of an image. */
const STARTED_WITHIN_MS = 15 * 60_000;

/** Makes the service of a worker, and sees it start. */
export class ServiceStart {
  readonly #deps: ServiceStartDeps;

  constructor(deps: ServiceStartDeps) {
    this.#deps = deps;
  }

  /** @param taken names of the session's other services */
  async create(spec: WorkerSpec, role: Role, taken: readonly string[]): Promise<void> {
    const { managers, network, secrets, view, fleetId, stopGraceMs } = this.#deps;
    const [networkId, image, nodes] = await Promise.all([
      network.id(),
      exactImage(managers, spec.image ?? this.#deps.image),
      view.nodes(),
    ]);
    const places = [
      ...(spec.resources?.constraints ?? []),
      ...nodeConstraints(nodes, spec.avoid ?? [], '!='),
      ...(spec.node === undefined ? [] : nodeConstraints(nodes, [spec.node], '==')),
    ];
    try {
      const files = await secrets.create(spec, (path) => readFileSync(path));
      const [name = ''] = serviceNames(fleetId, spec.sessionId).filter((each) => !taken.includes(each));
      const given = { name, role, fleetId, image, network: networkId, secrets: files, places, stopGraceMs };
      await managers.ask((docker) => docker.createService(serviceOptions(spec, given)));
    } catch (error) {
      if (isNetworkGone(error)) network.forget();
      // Those that a service uses stay. Without an answer nothing is known, and nothing is taken away.
      if (statusOf(error) !== null) await secrets.remove(spec.sessionId).catch(() => undefined);
      throw error;
    }
  }

  /** Waits until the worker runs, or has ended, or will not start. The signal ends the wait, not the start. */
  async outcome(spec: WorkerSpec, options: EnsureOptions): Promise<{ worker: ObservedWorker } | Refusal> {
    const { view, clock } = this.#deps;
    const beganAt = clock.monotonicMs();
    let sayAfterMs = SAY_EVERY_MS;
    for (;;) {
      const found = await view.ofEpoch(spec.sessionId, spec.epoch);
      if (found === null) {
        throw unavailable('worker_not_started', 'The service of the worker was taken away.');
      }
      const { worker, task } = found;
      if (worker.state === 'exited') {
        if (task?.Status.State !== 'rejected') return { worker };
        return rejection(task.Status.Err ?? 'the node rejected it');
      }
      if (task && !isBeforeStart(task)) return { worker };
      const waitedMs = clock.monotonicMs() - beganAt;
      const why = task?.Status.Err;
      if ((task?.NodeID ?? '') === '') {
        // The node that was wished for has no room, or is not what the session asks for: not worth a wait.
        const hopeless = spec.node !== undefined && why?.includes('no suitable node') === true;
        if (hopeless || waitedMs > (this.#deps.placedWithinMs ?? PLACED_WITHIN_MS))
          return { why: why ?? 'it got no node in time', placed: false };
      } else if (waitedMs > STARTED_WITHIN_MS) return rejection(why ?? 'it did not start in time');
      // Before that it is made ready, which takes no time but for an image that is not there.
      if (task?.Status.State === 'preparing' && waitedMs > sayAfterMs) {
        options.onProgress?.(`${worker.node} fetches the image`);
        sayAfterMs = waitedMs + SAY_EVERY_MS;
      }
      await clock.sleep(LOOK_EVERY_MS, options.signal);
    }
  }
}

function rejection(why: string): Refusal {
  const staleNetwork = /^network (\w+) exists$/.exec(why)?.[1];
  return { why, placed: true, ...(staleNetwork === undefined ? {} : { staleNetwork }) };
}
