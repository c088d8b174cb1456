import type { Logger } from '../../../kernel/log.ts';
import { networkName } from '../docker/container-spec.ts';
import { statusOf } from '../docker/engine-errors.ts';
import { NetworkId } from '../docker/network-id.ts';
import type { SwarmManagers } from './managers.ts';

/**
 * A network without containers (`--config-only`) that an operator makes on every node: Swarm passes no options of a
 * bridge on, and this one says that workers do not reach one another.
 */
export const NODE_NETWORK = 'flotilla-workers';

/**
 * The network of a fleet's workers: known to the whole swarm, but on each node a bridge of its own. No traffic goes
 * from node to node, so there is no overlay. Where `NODE_NETWORK` is there, a worker reaches no other worker.
 */
export class FleetNetwork {
  readonly #managers: SwarmManagers;
  readonly #fleetId: string;
  readonly #log: Logger;
  readonly #id = new NetworkId(() => this.#make());

  constructor(managers: SwarmManagers, fleetId: string, log: Logger) {
    this.#managers = managers;
    this.#fleetId = fleetId;
    this.#log = log;
  }

  /** Makes it if it is not there. */
  id(): Promise<string> {
    return this.#id.get();
  }

  /** It may be gone: look again before the next use. */
  forget(): void {
    this.#id.forget();
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
    const isolated = await this.#isPrepared();
    if (!isolated) {
      const missing = `there is no network ${NODE_NETWORK}: workers of one node can reach one another`;
      this.#log.warn({ network: NODE_NETWORK }, missing);
    }
    try {
      const { id } = await this.#managers.ask((docker) =>
        docker.createNetwork({
          Name: networkName(this.#fleetId),
          Scope: 'swarm',
          ...(isolated ? { ConfigFrom: { Network: NODE_NETWORK } } : {}),
          Driver: 'bridge',
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

  async #isPrepared(): Promise<boolean> {
    const filters = { name: [NODE_NETWORK] };
    const found = await this.#managers.ask((docker) => docker.listNetworks({ filters }));
    return found.some(({ Name: name, ConfigOnly: configOnly }) => name === NODE_NETWORK && configOnly);
  }

  async #present(): Promise<string | null> {
    // By name: with a configuration of the node it must not have labels.
    const name = networkName(this.#fleetId);
    const filters = { name: [name], scope: ['swarm'] };
    const found = await this.#managers.ask((docker) => docker.listNetworks({ filters }));
    return found.find(({ Name }) => Name === name)?.Id ?? null;
  }
}
