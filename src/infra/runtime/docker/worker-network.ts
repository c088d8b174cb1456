import type Docker from 'dockerode';
import { LABEL, networkName } from './container-spec.ts';
import { statusOf } from './engine-errors.ts';
import { NetworkId } from './network-id.ts';

/** A network that is used, gone or already being removed is not ours to take away. */
const LEFT_ALONE = new Set([403, 404, 409]);

/**
 * The network of a fleet's workers on one engine: on it each reaches the orchestrator and the outside, and no other
 * worker. Engines allow several networks of one name, so it is known by its id.
 */
export class WorkerNetwork {
  readonly #docker: Docker;
  readonly #fleetId: string;
  readonly #id = new NetworkId(() => this.#make());

  constructor(docker: Docker, fleetId: string) {
    this.#docker = docker;
    this.#fleetId = fleetId;
  }

  /** Makes it if it is not there. */
  id(): Promise<string> {
    return this.#id.get();
  }

  /** It may be gone: look again before the next use. */
  forget(): void {
    this.#id.forget();
  }

  /** Unless somebody is still on it. */
  async remove(): Promise<void> {
    this.forget();
    for (const id of await this.#present()) await this.#removeUnused(id);
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
  async #present(): Promise<string[]> {
    const label = [`${LABEL.fleet}=${this.#fleetId}`];
    const found = await this.#docker.listNetworks({ filters: { label } });
    return found
      .sort((a, b) => a.Created.localeCompare(b.Created) || a.Id.localeCompare(b.Id))
      .map(({ Id }) => Id);
  }

  async #removeUnused(id: string): Promise<void> {
    try {
      await this.#docker.getNetwork(id).remove();
    } catch (error) {
      if (!LEFT_ALONE.has(statusOf(error) ?? 0)) throw error;
    }
  }
}
