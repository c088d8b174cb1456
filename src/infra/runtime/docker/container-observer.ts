import type Docker from 'dockerode';
import type { ContainerInfo, ContainerInspectInfo } from 'dockerode';
import type { Clock } from '../../../kernel/clock.ts';
import type { ObservedWorker } from '../../../services/fleet/ports.ts';
import { linesOf } from './container-log.ts';
import { LABEL, type Role, roleOf } from './container-spec.ts';
import { statusOf } from './engine-errors.ts';
import { exitFacts } from './exit-facts.ts';

const LAST_LINES = 20;

/** A worker as its engine shows it. */
export interface SeenWorker extends ObservedWorker {
  role: Role;
  /** The engine's own, of this very container. */
  containerId: string;
}

/** What the engine tells of containers, as workers. */
export class ContainerObserver {
  readonly #docker: Docker;
  readonly #node: string;
  readonly #clock: Clock;
  /** What is known of ended containers, by container id: it does not change any more. */
  readonly #ended = new Map<string, Pick<ObservedWorker, 'ranMs' | 'exit'>>();
  /** By how much the engine's clock is ahead of ours. */
  aheadMs = 0;

  constructor(docker: Docker, node: string, clock: Clock) {
    this.#docker = docker;
    this.#node = node;
    this.#clock = clock;
  }

  /** @param found all that there are; without those that went since */
  async listed(found: readonly ContainerInfo[]): Promise<SeenWorker[]> {
    const ids = new Set(found.map(({ Id }) => Id));
    for (const id of this.#ended.keys()) if (!ids.has(id)) this.#ended.delete(id);
    const workers = await Promise.all(found.map((info) => this.#observeListed(info)));
    return workers.filter((worker) => worker !== null);
  }

  async observe(info: ContainerInspectInfo): Promise<SeenWorker> {
    const { Config: config, State: state } = info;
    const role = roleOf(info.Name);
    if (state.Running) return this.#running(info.Id, config.Labels, role, Date.parse(state.StartedAt));
    const log = await unlessGone(
      this.#docker.getContainer(info.Id).logs({ stdout: true, stderr: true, tail: LAST_LINES }),
    );
    const facts = exitFacts(info, log === null ? [] : linesOf(log));
    // One that was only made may be starting now.
    if (state.Status === 'exited') this.#ended.set(info.Id, facts);
    return { ...this.#identity(info.Id, config.Labels, role), state: 'exited', ...facts };
  }

  /** Without another look. */
  justStarted(containerId: string, labels: Record<string, string>, role: Role): SeenWorker {
    return this.#running(containerId, labels, role, this.#clock.nowMs() + this.aheadMs);
  }

  async #observeListed(info: ContainerInfo): Promise<SeenWorker | null> {
    const { State: state, Labels: labels, Created: createdSeconds } = info;
    const role = roleOf(info.Names?.[0]);
    if (state === 'running' || state === 'paused' || state === 'restarting') {
      return this.#running(info.Id, labels, role, createdSeconds * 1000);
    }
    const known = this.#ended.get(info.Id);
    if (known) return { ...this.#identity(info.Id, labels, role), state: 'exited', ...known };
    const inspected = await unlessGone(this.#docker.getContainer(info.Id).inspect());
    return inspected === null ? null : await this.observe(inspected);
  }

  #running(containerId: string, labels: Record<string, string>, role: Role, sinceMs: number): SeenWorker {
    const ranMs = Math.max(1, this.#clock.nowMs() + this.aheadMs - sinceMs);
    return { ...this.#identity(containerId, labels, role), state: 'running', ranMs, exit: null };
  }

  #identity(containerId: string, labels: Record<string, string>, role: Role) {
    return {
      sessionId: labels[LABEL.session] ?? '',
      epoch: Number(labels[LABEL.epoch]),
      generation: Number(labels[LABEL.generation]),
      containerId,
      role,
      node: this.#node,
    };
  }
}

/** Null for one that went meanwhile, or is just being removed. */
async function unlessGone<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call;
  } catch (error) {
    const status = statusOf(error);
    if (status === 404 || status === 409) return null;
    throw error;
  }
}
