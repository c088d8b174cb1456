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
 *
 * A node that went without a stop still has the bridge when it is back, and takes no more workers on that network
 * (moby/moby#37087): then the fleet gets another, with a number, and the one before goes with its last worker.
 */
export class FleetNetwork {
  readonly #managers: SwarmManagers;
  readonly #base: string;
  readonly #log: Logger;
  readonly #id = new NetworkId(() => this.#make());
  /** There were others beside the newest when it was looked at last. */
  #hasOld = true;

  constructor(managers: SwarmManagers, fleetId: string, log: Logger) {
    this.#managers = managers;
    this.#base = networkName(fleetId);
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

  /** Another instead of this one, unless that was done already. */
  async renew(staleId: string): Promise<void> {
    if ((await this.id()) !== staleId) return;
    const newest = (await this.#present()).at(-1);
    if (newest === undefined || newest.id === staleId) {
      this.#log.warn(
        { network: staleId },
        'a node cannot use the network of the workers any more: they get another',
      );
      await this.#create((newest?.number ?? 1) + 1);
    }
    this.#hasOld = true;
    this.forget();
  }

  /** Those before the newest, unless they are in use. */
  async removeOld(): Promise<void> {
    if (!this.#hasOld) return;
    const old = (await this.#present()).slice(0, -1);
    await this.#removeUnused(old);
    this.#hasOld = (await this.#present()).length > 1;
  }

  /** All, unless they are in use. */
  async remove(): Promise<void> {
    this.forget();
    await this.#removeUnused(await this.#present());
  }

  async #make(): Promise<string> {
    return (await this.#present()).at(-1)?.id ?? (await this.#create(1));
  }

  /** @param number of the fleet's networks, from 1 */
  async #create(number: number): Promise<string> {
    const isolated = await this.#isPrepared();
    if (!isolated) {
      const missing = `there is no network ${NODE_NETWORK}: workers of one node can reach one another`;
      this.#log.warn({ network: NODE_NETWORK }, missing);
    }
    try {
      const { id } = await this.#managers.ask((docker) =>
        docker.createNetwork({
          Name: number === 1 ? this.#base : `${this.#base}-${number}`,
          Scope: 'swarm',
          ...(isolated ? { ConfigFrom: { Network: NODE_NETWORK } } : {}),
          Driver: 'bridge',
        }),
      );
      return id;
    } catch (error) {
      // Another orchestrator made it at the same time: a swarm has one network of a name.
      const other = statusOf(error) === null ? undefined : (await this.#present()).at(-1);
      if (other?.number !== number) throw error;
      return other.id;
    }
  }

  async #isPrepared(): Promise<boolean> {
    const filters = { name: [NODE_NETWORK] };
    const found = await this.#managers.ask((docker) => docker.listNetworks({ filters }));
    return found.some(({ Name: name, ConfigOnly: configOnly }) => name === NODE_NETWORK && configOnly);
  }

  /** The newest last. By name: with a configuration of the node they must not have labels. */
  async #present(): Promise<{ id: string; number: number }[]> {
    // The filter of Swarm's networks for names knows whole names only.
    const filters = { scope: ['swarm'] };
    const found = await this.#managers.ask((docker) => docker.listNetworks({ filters }));
    return found
      .map(({ Name: name, Id: id }) => ({ id, number: name === this.#base ? 1 : this.#numberOf(name) }))
      .filter(({ number }) => number > 0)
      .sort((a, b) => a.number - b.number);
  }

  /** 0 for one that is not ours. */
  #numberOf(name: string): number {
    const rest = name.startsWith(`${this.#base}-`) ? name.slice(this.#base.length + 1) : '';
    return /^[1-9]\d*$/.test(rest) ? Number(rest) : 0;
  }

  async #removeUnused(networks: readonly { id: string }[]): Promise<void> {
    const answers = [400, 403, 404, 409];
    for (const { id } of networks)
      await this.#managers.unless(answers, (docker) => docker.getNetwork(id).remove());
  }
}
