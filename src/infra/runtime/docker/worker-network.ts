import type Docker from 'dockerode';
import type { Clock } from '../../../kernel/clock.ts';
import { unavailable } from '../../../kernel/errors.ts';
import { LABEL, networkName } from './container-spec.ts';
import { reasonOf, statusOf } from './engine-errors.ts';
import { NetworkId } from './network-id.ts';

const GONE = 404;
/** Containers in these states are, or will be, on the network. */
const PRESENT_STATES = ['created', 'restarting', 'running', 'paused'];
const RETRY_EVERY_MS = 100;
/** An engine under load gives the place of a container up a moment later than the container. */
const DETACH_AFTER_MS = 1000;
const REMOVED_WITHIN_MS = 5000;

/**
 * The network of a fleet's workers on one engine: on it each reaches the orchestrator and the outside, and no other
 * worker. Engines allow several networks of one name, so it is known by its id.
 */
export class WorkerNetwork {
  readonly #docker: Docker;
  readonly #fleetId: string;
  readonly #clock: Clock;
  readonly #id = new NetworkId(() => this.#make());

  constructor(docker: Docker, fleetId: string, clock: Clock) {
    this.#docker = docker;
    this.#fleetId = fleetId;
    this.#clock = clock;
  }

  /** Makes it if it is not there. */
  id(): Promise<string> {
    return this.#id.get();
  }

  /** It may be gone: look again before the next use. */
  forget(): void {
    this.#id.forget();
  }

  /**
   * Takes it away, unless a worker is there to use it. What a worker that has gone still holds of it is waited for,
   * and then taken back.
   * @throws FlotillaError `network_stays` when the engine keeps it all the same
   */
  async remove(signal: AbortSignal): Promise<void> {
    this.forget();
    const beganAt = this.#clock.monotonicMs();
    for (;;) {
      const refused = await this.#removeAll(signal);
      if (refused === null || (await this.#hasWorkers(signal))) return;
      const tookMs = this.#clock.monotonicMs() - beganAt;
      if (tookMs > REMOVED_WITHIN_MS) {
        throw unavailable('network_stays', `The network of the workers stays: ${reasonOf(refused)}`);
      }
      if (tookMs > DETACH_AFTER_MS) await this.#detachGone(signal);
      await this.#clock.sleep(RETRY_EVERY_MS, signal);
    }
  }

  async #make(): Promise<string> {
    const [present] = await this.#present();
    if (present !== undefined) return present;
    const { id } = await this.#docker.createNetwork({
      Name: networkName(this.#fleetId),
      Driver: 'bridge',
      Options: { 'com.docker.network.bridge.enable_icc': 'false' },
      Labels: { [LABEL.fleet]: this.#fleetId },
    });
    // Another orchestrator may have made one at the same time: both keep the first.
    const [first = id] = await this.#present();
    if (first !== id) await this.#removeUnused(id);
    return first;
  }

  /** The same order for whoever asks. */
  async #present(abortSignal?: AbortSignal): Promise<string[]> {
    const label = [`${LABEL.fleet}=${this.#fleetId}`];
    const found = await this.#docker.listNetworks({
      filters: { label },
      ...(abortSignal === undefined ? {} : { abortSignal }),
    });
    return found
      .sort((a, b) => a.Created.localeCompare(b.Created) || a.Id.localeCompare(b.Id))
      .map(({ Id }) => Id);
  }

  /** @returns why one of them is still there; null when none is */
  async #removeAll(signal: AbortSignal): Promise<unknown> {
    let refused: unknown = null;
    for (const id of await this.#present(signal)) refused = (await this.#removeUnused(id, signal)) ?? refused;
    return refused;
  }

  /** @returns the engine's refusal; null when the network is gone. Without an answer it throws. */
  async #removeUnused(id: string, abortSignal?: AbortSignal): Promise<unknown> {
    try {
      await this.#docker.getNetwork(id).remove(abortSignal === undefined ? {} : { abortSignal });
      return null;
    } catch (error) {
      const status = statusOf(error);
      if (status === null) throw error;
      return status === GONE ? null : error;
    }
  }

  async #hasWorkers(abortSignal: AbortSignal): Promise<boolean> {
    const filters = { label: [`${LABEL.fleet}=${this.#fleetId}`], status: PRESENT_STATES };
    return (await this.#docker.listContainers({ all: true, filters, abortSignal })).length > 0;
  }

  /** Takes the places of containers back that the engine itself knows no longer. */
  async #detachGone(signal: AbortSignal): Promise<void> {
    for (const id of await this.#present(signal)) {
      const network = this.#docker.getNetwork(id);
      const { Containers: places = {} } = await network.inspect();
      for (const { Name: name } of Object.values(places)) {
        if (await this.#exists(name)) continue;
        // Whatever comes of it shows in the next removal.
        await network.disconnect({ Container: name, Force: true }).catch(answered);
      }
    }
  }

  async #exists(container: string): Promise<boolean> {
    try {
      await this.#docker.getContainer(container).inspect();
      return true;
    } catch (error) {
      if (statusOf(error) !== GONE) throw error;
      return false;
    }
  }
}

/** Passes over an answer, but not over the lack of one. */
function answered(error: unknown): void {
  if (statusOf(error) === null) throw error;
}
