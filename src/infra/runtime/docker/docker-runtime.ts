import { conflict, FlotillaError, messageOf, unavailable } from '../../../kernel/errors.ts';
import {
  ENGINE_UNREACHABLE,
  type EnsureOptions,
  type ImageSource,
  isEngineUnreachable,
  type LogSource,
  type NodeSource,
  type ObservedWorker,
  type RuntimeHint,
  type RuntimeLifecycle,
  type RuntimeNode,
  type StatsSource,
  type StopOptions,
  type SuccessorSource,
  type WorkerRuntime,
  type WorkerSpec,
  type WorkerStats,
} from '../../../services/fleet/ports.ts';
import type { EngineRuntimeOptions } from '../engine-options.ts';
import { SessionTurns } from '../session-turns.ts';
import type { SeenWorker } from './container-observer.ts';
import { checkReference } from './container-spec.ts';
import { endWorker } from './end-worker.ts';
import { statusOf } from './engine-errors.ts';
import { EngineHost } from './engine-host.ts';
import { HostLists } from './host-lists.ts';
import { type DockerHost, NO_LIMIT } from './hosts.ts';
import { KeptLogs } from './kept-logs.ts';
import { placeWorker } from './place-worker.ts';
import { watchHosts } from './watch-hosts.ts';
import { workersOfSessions } from './workers-of-sessions.ts';

export interface DockerRuntimeOptions extends EngineRuntimeOptions {
  hosts: readonly DockerHost[];
  /** On each host. */
  startsAtOnce?: number;
}

const CREATE_ATTEMPTS = 3;
const CLOSE_MS = 10_000;
/** It may be back by now. */
const CLOSE_AWAY_MS = 1000;

/**
 * One container per session on one or more Docker engines. Workers outlive the orchestrator: a new one finds them
 * by their labels. Nothing is remembered here that the engines do not tell, but where a session was seen last.
 */
export class DockerRuntime
  implements WorkerRuntime, LogSource, StatsSource, RuntimeLifecycle, NodeSource, ImageSource, SuccessorSource
{
  readonly #options: DockerRuntimeOptions;
  readonly #hosts: readonly EngineHost[];
  readonly #lists: HostLists;
  readonly #keptLogs: KeptLogs | null;
  /** Calls for one session go one after the other. */
  readonly #turns = new SessionTurns();

  constructor(options: DockerRuntimeOptions) {
    this.#options = options;
    const { hosts, logDir, ...rest } = options;
    this.#keptLogs = logDir === undefined ? null : new KeptLogs(logDir);
    const kept = this.#keptLogs ? { keptLogs: this.#keptLogs } : {};
    this.#hosts = hosts.map((host) => new EngineHost({ host, ...rest, ...kept }));
    this.#lists = new HostLists(this.#hosts, rest);
  }

  /** An engine that is down now may come up later: until then nothing is known of its workers. */
  async open(): Promise<void> {
    await Promise.all(
      this.#hosts.map(async (host) => {
        try {
          await host.ping();
        } catch (error) {
          this.#options.log.warn(
            { host: host.name, error: messageOf(error) },
            'a Docker engine does not answer',
          );
        }
      }),
    );
  }

  /** The workers stay. A network without any goes, as far as the engine answers: nobody waits long for one that does not. */
  async close(_options: StopOptions): Promise<void> {
    const { log } = this.#options;
    await Promise.all(
      this.#hosts.map(async (host) => {
        const patience = AbortSignal.timeout(this.#lists.isAway(host) ? CLOSE_AWAY_MS : CLOSE_MS);
        await host.close(patience).catch((error: unknown) => {
          log.warn(
            { host: host.name, error: messageOf(error) },
            'the network of the workers may be left over',
          );
        });
      }),
    );
  }

  get image(): string {
    return this.#options.image;
  }

  checkImage(image: string): void {
    checkReference(image);
  }

  /** On each host that answers; one that comes back later fetches it when it needs it. */
  async prepareImage(image: string, options: EnsureOptions = {}): Promise<void> {
    const done = await Promise.allSettled(this.#hosts.map((host) => host.prepareImage(image, options)));
    const errors = done.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
    const missing = errors.find((error) => error instanceof FlotillaError && error.code.startsWith('image_'));
    if (missing !== undefined) throw missing;
    if (errors.length === this.#hosts.length) throw errors[0];
  }

  ensure(spec: WorkerSpec, options: EnsureOptions = {}): Promise<ObservedWorker> {
    return this.#turns.take(spec.sessionId, () => this.#ensure(spec, options));
  }

  async stop(sessionId: string, { graceMs }: StopOptions): Promise<void> {
    const { clock } = this.#options;
    await this.#whereItIs(sessionId, (host) => endWorker(host, sessionId, graceMs, clock));
  }

  remove(sessionId: string): Promise<void> {
    return this.#turns.take(sessionId, () => this.#whereItIs(sessionId, removeAll(sessionId)));
  }

  prepare(spec: WorkerSpec & { node: string }, options: EnsureOptions = {}): Promise<void> {
    return this.#turns.take(spec.sessionId, () => this.#prepare(spec, options));
  }

  async successor(sessionId: string, epoch: number): Promise<SeenWorker | null> {
    const hosts = this.#lists.candidates(sessionId).filter((host) => !this.#lists.isAway(host));
    const found = await Promise.all(hosts.map((host) => host.find(sessionId, 'successor')));
    return found.find((each) => each?.epoch === epoch) ?? null;
  }

  promote(sessionId: string, epoch: number): Promise<void> {
    return this.#turns.take(sessionId, async () => {
      const found = this.#lists.successor(sessionId, epoch) ?? (await this.successor(sessionId, epoch));
      const host = this.#hosts.find(({ name }) => name === found?.node);
      if (found?.state === 'running' && host) await this.#promote(host, found);
    });
  }

  discard(sessionId: string, epoch?: number): Promise<void> {
    return this.#turns.take(sessionId, () =>
      this.#whereItIs(sessionId, async (host) => {
        if (this.#lists.isAway(host)) return;
        const found = await host.find(sessionId, 'successor');
        if (found && (epoch ?? found.epoch) === found.epoch) await host.remove(sessionId, 'successor');
      }),
    );
  }

  async list(): Promise<ObservedWorker[]> {
    const { workers, replaced } = workersOfSessions(await this.#lists.all());
    for (const each of replaced) this.#replaced(each);
    return workers;
  }

  nodes(): RuntimeNode[] {
    return this.#hosts.map((host) => ({
      name: host.name,
      capacity: host.capacity === NO_LIMIT ? null : host.capacity,
      reachable: this.#lists.answers(host),
    }));
  }

  watch(signal: AbortSignal): AsyncGenerator<RuntimeHint> {
    return watchHosts(this.#hosts, this.#options.clock, signal);
  }

  async logs(sessionId: string, { lines }: { lines: number }): Promise<string[]> {
    const hosts = this.#lists.candidates(sessionId).filter((host) => !this.#lists.isAway(host));
    const present = (await Promise.all(hosts.map((host) => host.logs(sessionId, lines)))).flat();
    if (present.length >= lines || !this.#keptLogs) return present.slice(-lines);
    return [...(await this.#keptLogs.read(sessionId, lines)), ...present].slice(-lines);
  }

  /** Those of a session that is gone for good. */
  async removeLogs(sessionId: string): Promise<void> {
    await this.#keptLogs?.remove(sessionId);
  }

  async stats(sessionId: string): Promise<WorkerStats | null> {
    const stats = await Promise.all(this.#lists.candidates(sessionId).map((host) => host.stats(sessionId)));
    return stats.find((found) => found !== null) ?? null;
  }

  async #ensure(spec: WorkerSpec, options: EnsureOptions): Promise<ObservedWorker> {
    for (let attempt = 1; ; attempt += 1) {
      const present = await this.#adoptOrClear(spec);
      if (present) return present;
      const host = await placeWorker(spec, this.#hosts, this.#lists, this.#options.fleetId);
      try {
        const started = await host.start(spec, options);
        this.#lists.remember(host, started);
        return started;
      } catch (error) {
        if (isEngineUnreachable(error)) this.#lists.doubt(host, spec.sessionId);
        // Its name was taken meanwhile: look again whose it is.
        if (statusOf(error) !== 409 || attempt >= CREATE_ATTEMPTS) throw error;
      }
    }
  }

  /** Beside the present worker, and in place of whatever was prepared before. */
  async #prepare(spec: WorkerSpec & { node: string }, options: EnsureOptions): Promise<void> {
    const { sessionId, epoch, node } = spec;
    const target = this.#hosts.find(({ name }) => name === node);
    if (!target) throw unavailable('unknown_host', `There is no Docker host ${node}.`);
    for (const host of this.#answering(sessionId)) {
      const found = await host.find(sessionId, 'successor');
      if (host === target && found?.epoch === epoch && found.state === 'running') return;
      if (found) await host.remove(sessionId, 'successor');
    }
    try {
      this.#lists.remember(target, await target.start(spec, options, 'successor'));
    } catch (error) {
      if (isEngineUnreachable(error)) this.#lists.doubt(target, sessionId);
      throw error;
    }
  }

  /** The worker of this epoch if there is one, be it prepared; every older one is gone afterwards. */
  async #adoptOrClear({ sessionId, epoch }: WorkerSpec): Promise<ObservedWorker | null> {
    const found = await Promise.all(
      this.#answering(sessionId).map(async (host) => {
        const roles = [host.find(sessionId), host.find(sessionId, 'successor')] as const;
        const [present, successor] = await Promise.all(roles);
        return { host, present, successor };
      }),
    );
    if (found.some(({ present }) => present && present.epoch > epoch)) {
      throw conflict('newer_worker', 'A worker of a newer epoch is there already.');
    }
    const isMine = (worker: SeenWorker | null): boolean =>
      worker?.epoch === epoch && !(worker.state === 'exited' && worker.exit?.code === null);
    let mine: ObservedWorker | null = found.find(({ present }) => isMine(present))?.present ?? null;
    const next = found.find(({ successor }) => successor?.epoch === epoch && successor.state === 'running');
    const prepared = mine ? undefined : next;
    if (prepared?.successor) {
      // On its own host it needs the name; else the old one goes after it, and the session is listed at any time.
      if (prepared.present) await prepared.host.remove(sessionId);
      mine = await this.#promote(prepared.host, prepared.successor);
    }
    for (const each of found.filter((one) => one !== prepared)) {
      const { host, present, successor } = each;
      if (present && present !== mine) await host.remove(sessionId);
      // One of a later epoch is to follow this one.
      if (successor && successor.epoch <= epoch) await host.remove(sessionId, 'successor');
    }
    return mine;
  }

  async #promote(host: EngineHost, successor: SeenWorker): Promise<SeenWorker> {
    const promoted = await host.promote(successor);
    this.#lists.remember(host, promoted);
    return promoted;
  }

  /** All hosts but those that cannot be asked, and have nothing of the session. */
  #answering(sessionId: string): EngineHost[] {
    return this.#hosts.filter((host) => {
      if (!this.#lists.isAway(host)) return true;
      if (!this.#lists.mayHave(host, sessionId)) return false;
      throw unavailable(
        ENGINE_UNREACHABLE,
        `The Docker engine ${host.name}, which may still run it, is silent.`,
      );
    });
  }

  /** An older worker on another host, such as one that was away for long: nobody else would take it away. */
  #replaced({ sessionId, epoch, node }: SeenWorker): void {
    const host = this.#hosts.find(({ name }) => name === node);
    if (!host || this.#turns.has(sessionId)) return;
    this.#turns
      .take(sessionId, async () => {
        if ((await host.find(sessionId))?.epoch === epoch) await host.remove(sessionId);
      })
      .catch((error: unknown) => {
        this.#options.log.debug({ sessionId, error: messageOf(error) }, 'an old worker could not be removed');
      });
  }

  async #whereItIs(sessionId: string, act: (host: EngineHost) => Promise<void>): Promise<void> {
    await Promise.all(this.#lists.candidates(sessionId).map(act));
  }
}

const removeAll =
  (sessionId: string) =>
  async (host: EngineHost): Promise<void> => {
    await Promise.all([host.remove(sessionId), host.remove(sessionId, 'successor')]);
  };
