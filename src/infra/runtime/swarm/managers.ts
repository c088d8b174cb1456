import type Docker from 'dockerode';
import type { Clock } from '../../../kernel/clock.ts';
import { unavailable } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import { engineClient } from '../docker/engine-client.ts';
import { explained, reasonOf, statusOf } from '../docker/engine-errors.ts';
import type { DockerHost } from '../docker/hosts.ts';
import { type EngineWarnings, warnOfOpenEngine } from '../docker/open-engine.ts';

const SILENT_MS = 15_000;
const NO_MANAGER = 503;
const STALE_ATTEMPTS = 8;
const STALE_WAIT_MS = 20;

/** A service as far as a change of it needs it. */
export interface UpdatableService {
  Version: { Index: number };
  Spec: object;
}

/** The managers of a swarm: each call goes to one that answers. It rejects when none does. */
export class SwarmManagers {
  readonly #clients: readonly { name: string; insecure: boolean; docker: Docker }[];
  readonly #clock: Clock;
  /** The one that answered last. */
  #current = 0;
  /** By how much the managers' clocks are ahead of ours. */
  #aheadMs = 0;

  constructor(hosts: readonly DockerHost[], clock: Clock, silentMs: number = SILENT_MS) {
    this.#clients = hosts.map((host) => ({
      name: host.name,
      insecure: host.insecure === true,
      docker: engineClient(host, silentMs),
    }));
    this.#clock = clock;
  }

  /** By the managers' clocks. */
  nowMs(): number {
    return this.#clock.nowMs() + this.#aheadMs;
  }

  /** Whether one answers and is a manager; also compares the clocks, and warns of one that anybody may use. */
  async ping(log: Logger): Promise<void> {
    const before = this.#clock.nowMs();
    const info = await this.ask(async (docker) => {
      await docker.swarmInspect();
      return (await docker.info()) as { SystemTime: string } & EngineWarnings;
    });
    const { name, insecure } = this.#clients[this.#current] ?? { name: '' };
    if (!insecure) warnOfOpenEngine(name, info, log);
    this.#aheadMs = Date.parse(info.SystemTime) - (before + this.#clock.nowMs()) / 2 || 0;
  }

  /** An answer is final, also a bad one; without any the next manager is asked. */
  async ask<T>(call: (docker: Docker) => Promise<T>): Promise<T> {
    let last: unknown;
    for (let tried = 0; tried < this.#clients.length; tried += 1) {
      const at = (this.#current + tried) % this.#clients.length;
      const client = this.#clients[at];
      if (!client) break;
      try {
        const answer = await call(client.docker);
        this.#current = at;
        return answer;
      } catch (error) {
        const status = statusOf(error);
        if (status !== null && status !== NO_MANAGER) throw error;
        last = status === null ? explained(error, client.name) : notInCharge(client.name, error);
      }
    }
    throw last;
  }

  /** The engine of ours that is this node of the swarm; null when none is, or does not answer. */
  async engineOn(nodeId: string): Promise<Docker | null> {
    const found = await Promise.all(
      this.#clients.map(async ({ docker }) => {
        const info = (await docker.info().catch(() => null)) as { Swarm?: { NodeID?: string } } | null;
        return info?.Swarm?.NodeID === nodeId ? docker : null;
      }),
    );
    return found.find((docker) => docker !== null) ?? null;
  }

  /** Null for these answers. */
  async unless<T>(statuses: readonly number[], call: (docker: Docker) => Promise<T>): Promise<T | null> {
    try {
      return await this.ask(call);
    } catch (error) {
      if (statuses.includes(statusOf(error) ?? 0)) return null;
      throw error;
    }
  }

  /**
   * Reads, changes and writes a service; when another change came between, all over again.
   * @param change null for one that needs none
   * @returns whether there is such a service
   */
  async updateService<S extends UpdatableService>(
    name: string,
    change: (service: S) => object | null,
  ): Promise<boolean> {
    for (let attempt = 1; ; attempt += 1) {
      const service = await this.unless([404], (docker) => docker.getService(name).inspect() as Promise<S>);
      if (service === null) return false;
      const spec = change(service);
      if (spec === null) return true;
      const update = { ...spec, version: service.Version.Index };
      try {
        return (await this.unless([404], (docker) => docker.getService(name).update(update))) !== null;
      } catch (error) {
        if (!isStale(error) || attempt >= STALE_ATTEMPTS) throw error;
        await this.#clock.sleep(STALE_WAIT_MS * attempt);
      }
    }
  }
}

/** The version was another's by then. It is not an error of the service, but the engine says 500. */
export const isStale = (error: unknown): boolean =>
  statusOf(error) === 500 && reasonOf(error).includes('update out of sequence');

/** A service was to use a network that is gone. The engine says 500 for it. */
export const isNetworkGone = (error: unknown): boolean =>
  [404, 500].includes(statusOf(error) ?? 0) && /^network \S+ not found/.test(reasonOf(error));

/** Without a leader there is no telling what runs; a worker's node never knows. */
const notInCharge = (name: string, error: unknown): unknown =>
  unavailable('swarm_unreachable', `${name} cannot speak for the swarm: ${reasonOf(error)}`, {
    cause: error,
  });
