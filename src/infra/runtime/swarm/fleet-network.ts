import { LABEL, networkName } from '../docker/container-spec.ts';
import { statusOf } from '../docker/engine-errors.ts';
import type { SwarmManagers } from './managers.ts';

/**
 * The network of a fleet's workers: known to the whole swarm, but on each node a bridge of its own, on which a worker
 * reaches the outside and no other worker. No traffic goes from node to node, so there is no overlay.
 */
export class FleetNetwork {
  readonly #managers: SwarmManagers;
  readonly #fleetId: string;
  #id: Promise<string> | undefined;

  constructor(managers: SwarmManagers, fleetId: string) {
    this.#managers = managers;
    this.#fleetId = fleetId;
  }

  /** Makes it if it is not there. */
  id(): Promise<string> {
    this.#id ??= this.#make().catch((error: unknown) => {
      this.#id = undefined;
      throw error;
    });
    return this.#id;
  }

  /** It may be gone: look again before the next use. */
  forget(): void {
    this.#id = undefined;
  }

  /** Unless it is in use. */
  async remove(): Promise<void> {
    this.forget();
    const id = await this.#present();
    if (id === null) return;
    await this.#managers.unless([400, 403, 404, 409], (docker) => docker.getNetwork(id).remove());
  }

  async #make(): Promise<string> {
    const present = await this.#present();
    if (present !== null) return present;
    try {
      const { id } = await this.#managers.ask((docker) =>
        docker.createNetwork({
          Name: networkName(this.#fleetId),
          Driver: 'bridge',
          Scope: 'swarm',
          Options: { 'com.docker.network.bridge.enable_icc': 'false' },
          Labels: { [LABEL.fleet]: this.#fleetId },
        }),
      );
      return id;
    } catch (error) {
      // Another orchestrator made it at the same time: a swarm has one network of a name.
      const other = statusOf(error) === null ? null : await this.#present();
      if (other === null) throw error;
      return other;
    }
  }

  async #present(): Promise<string | null> {
    const filters = { label: [`${LABEL.fleet}=${this.#fleetId}`], scope: ['swarm'] };
    const found = await this.#managers.ask((docker) => docker.listNetworks({ filters }));
    return found[0]?.Id ?? null;
  }
}
