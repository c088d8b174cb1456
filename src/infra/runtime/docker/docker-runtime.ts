import type { Clock } from '../../../kernel/clock.ts';
import { conflict, FlotillaError, messageOf, unavailable } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import type {
  ImageSource,
  LogSource,
  NodeSource,
  ObservedWorker,
  RuntimeHint,
  RuntimeLifecycle,
  RuntimeNode,
  StatsSource,
  StopOptions,
  WorkerRuntime,
  WorkerSpec,
  WorkerStats,
} from '../../../services/fleet/ports.ts';
import { HintChannel } from '../hint-channel.ts';
import { proxyMark } from './container-spec.ts';
import { statusOf } from './engine-errors.ts';
import { EngineHost } from './engine-host.ts';
import { type DockerHost, NO_LIMIT } from './hosts.ts';

export interface DockerRuntimeOptions {
  hosts: readonly DockerHost[];
  /** Tells the workers of this fleet from those of others on the same engine. */
  fleetId: string;
  /** Of a worker. */
  image: string;
  clock: Clock;
  log: Logger;
  silentMs?: number;
}

const KILLED_WITHIN_MS = 20_000;
const CREATE_ATTEMPTS = 3;

/**
 * One container per session on one or more Docker engines. Workers outlive the orchestrator: a new one finds them
 * by their labels. Nothing is remembered here that the engines do not tell, but where a session was seen last.
 */
export class DockerRuntime
  implements WorkerRuntime, LogSource, StatsSource, RuntimeLifecycle, NodeSource, ImageSource
{
  readonly #options: DockerRuntimeOptions;
  readonly #hosts: readonly EngineHost[];
  /** The last list of each host. One that does not answer keeps its workers: unknown is not absent. */
  readonly #lastSeen = new Map<EngineHost, ObservedWorker[]>();
  readonly #unreachable = new Set<EngineHost>();
  /** Calls for one session go one after the other. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: DockerRuntimeOptions) {
    this.#options = options;
    const { fleetId, image, clock, log, silentMs } = options;
    this.#hosts = options.hosts.map(
      (host) =>
        new EngineHost({ host, fleetId, image, clock, log, ...(silentMs === undefined ? {} : { silentMs }) }),
    );
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

  /** The workers stay. A network without any goes. */
  async close(_options: StopOptions): Promise<void> {
    await Promise.allSettled(this.#hosts.map((host) => host.removeNetwork()));
  }

  get image(): string {
    return this.#options.image;
  }

  /** On each host that answers; one that comes back later fetches it when it needs it. */
  async prepareImage(image: string): Promise<void> {
    const done = await Promise.allSettled(this.#hosts.map((host) => host.prepareImage(image)));
    const errors = done.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
    const missing = errors.find((error) => error instanceof FlotillaError && error.code === 'image_missing');
    if (missing !== undefined) throw missing;
    if (errors.length === this.#hosts.length) throw errors[0];
  }

  ensure(spec: WorkerSpec): Promise<ObservedWorker> {
    return this.#inTurn(spec.sessionId, () => this.#ensure(spec));
  }

  async stop(sessionId: string, { graceMs }: StopOptions): Promise<void> {
    const { clock } = this.#options;
    await this.#whereItIs(sessionId, async (host) => {
      const waiting = new AbortController();
      try {
        const ended = host.ended(sessionId, waiting.signal);
        ended.catch(() => undefined);
        await host.signal(sessionId, 'SIGTERM');
        const grace = clock.sleep(graceMs, waiting.signal).then(() => 'over' as const);
        grace.catch(() => undefined);
        if ((await Promise.race([ended, grace])) !== 'over') return;
        await host.signal(sessionId, 'SIGKILL');
        const patience = clock.sleep(KILLED_WITHIN_MS, waiting.signal).then(() => 'over' as const);
        patience.catch(() => undefined);
        if ((await Promise.race([ended, patience])) !== 'over') return;
        throw unavailable('worker_stays', `The worker of ${sessionId} on ${host.name} cannot be ended.`);
      } finally {
        waiting.abort();
      }
    });
  }

  remove(sessionId: string): Promise<void> {
    return this.#inTurn(sessionId, () => this.#whereItIs(sessionId, (host) => host.remove(sessionId)));
  }

  async list(): Promise<ObservedWorker[]> {
    const lists = await Promise.all(this.#hosts.map((host) => this.#listOf(host)));
    return newestOfEach(lists.flat());
  }

  nodes(): RuntimeNode[] {
    return this.#hosts.map((host) => ({
      name: host.name,
      capacity: host.capacity === NO_LIMIT ? null : host.capacity,
      reachable: this.#lastSeen.has(host) && !this.#unreachable.has(host),
    }));
  }

  async *watch(signal: AbortSignal): AsyncGenerator<RuntimeHint> {
    const over = new AbortController();
    const hints = new HintChannel<RuntimeHint>();
    const all = AbortSignal.any([signal, over.signal]);
    const listening = hints.listen(all);
    let lost: unknown;
    const following = this.#hosts.map(async (host) => {
      try {
        for await (const sessionId of host.events(all)) hints.publish({ sessionId });
        lost ??= unavailable('events_lost', `The event stream of ${host.name} has ended.`);
      } catch (error) {
        lost ??= error;
      }
      // Whoever watches lists again, and then watches again: what happens meanwhile is in the list.
      over.abort();
    });
    try {
      yield* listening;
    } finally {
      over.abort();
      await Promise.all(following);
    }
    if (!signal.aborted) throw lost;
  }

  async logs(sessionId: string, { lines }: { lines: number }): Promise<string[]> {
    const logs = await Promise.all(this.#candidates(sessionId).map((host) => host.logs(sessionId, lines)));
    return logs.flat().slice(-lines);
  }

  async stats(sessionId: string): Promise<WorkerStats | null> {
    const stats = await Promise.all(this.#candidates(sessionId).map((host) => host.stats(sessionId)));
    return stats.find((found) => found !== null) ?? null;
  }

  async #ensure(spec: WorkerSpec): Promise<ObservedWorker> {
    for (let attempt = 1; ; attempt += 1) {
      const present = await this.#adoptOrClear(spec);
      if (present) return present;
      const host = await this.#place(spec);
      try {
        const started = await host.start(spec);
        this.#remember(host, started);
        return started;
      } catch (error) {
        // Its name was taken meanwhile: look again whose it is.
        if (statusOf(error) !== 409 || attempt >= CREATE_ATTEMPTS) throw error;
      }
    }
  }

  /** The worker of this epoch if there is one; every older one is gone afterwards. */
  async #adoptOrClear(spec: WorkerSpec): Promise<ObservedWorker | null> {
    let mine: ObservedWorker | null = null;
    for (const host of this.#hosts) {
      const present = await host.find(spec.sessionId);
      if (!present) continue;
      if (present.epoch > spec.epoch) {
        throw conflict('newer_worker', 'A worker of a newer epoch is there already.');
      }
      const neverRan = present.state === 'exited' && present.exit?.code === null;
      if (present.epoch === spec.epoch && !neverRan) mine = present;
      else await host.remove(spec.sessionId);
    }
    return mine;
  }

  /** The one that was asked for; else the host with the fewest sessions of the same proxy, and among those the one with the most room. */
  async #place(spec: WorkerSpec): Promise<EngineHost> {
    const asked = this.#hosts.find(({ name }) => name === spec.node);
    // Whether it has room is for the plan that asked for it.
    if (asked) return asked;
    const [only] = this.#hosts;
    if (only && this.#hosts.length === 1 && only.capacity > this.#load(only)) return only;
    const proxy = spec.secrets.PROXY_URL;
    const mark = proxy === undefined ? null : proxyMark(this.#options.fleetId, proxy);
    const rated = await Promise.all(
      this.#hosts.map(async (host) => {
        const marks = await host.proxyMarks();
        return {
          host,
          same: marks.filter((each) => each === mark).length,
          free: host.capacity - this.#load(host),
        };
      }),
    );
    const [best] = rated.filter(({ free }) => free > 0).sort((a, b) => a.same - b.same || b.free - a.free);
    if (!best) throw unavailable('no_host_capacity', 'No Docker host has room for another worker.');
    return best.host;
  }

  #load(host: EngineHost): number {
    const running = (this.#lastSeen.get(host) ?? []).filter(({ state }) => state === 'running');
    return running.length + host.starting;
  }

  async #listOf(host: EngineHost): Promise<ObservedWorker[]> {
    try {
      const workers = await host.list();
      this.#unreachable.delete(host);
      this.#lastSeen.set(host, workers);
      return workers;
    } catch (error) {
      this.#unreachable.add(host);
      const before = this.#lastSeen.get(host);
      // With one host there would be nothing to go on with.
      if (this.#hosts.length === 1 || !before) throw error;
      this.#options.log.debug(
        { host: host.name, error: messageOf(error) },
        'a Docker engine does not answer',
      );
      return before;
    }
  }

  #remember(host: EngineHost, worker: ObservedWorker): void {
    const others = (this.#lastSeen.get(host) ?? []).filter(({ sessionId }) => sessionId !== worker.sessionId);
    this.#lastSeen.set(host, [...others, worker]);
  }

  /** Where the session was seen last; all hosts if nowhere. */
  #candidates(sessionId: string): readonly EngineHost[] {
    const seen = this.#hosts.filter((host) =>
      this.#lastSeen.get(host)?.some((worker) => worker.sessionId === sessionId),
    );
    return seen.length > 0 ? seen : this.#hosts;
  }

  async #whereItIs(sessionId: string, act: (host: EngineHost) => Promise<void>): Promise<void> {
    await Promise.all(this.#candidates(sessionId).map(act));
  }

  #inTurn<T>(sessionId: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(sessionId) ?? Promise.resolve();
    const mine = before.then(work, work);
    const done = mine
      .catch(() => undefined)
      .then(() => {
        if (this.#turns.get(sessionId) === done) this.#turns.delete(sessionId);
      });
    this.#turns.set(sessionId, done);
    return mine;
  }
}

/** A session is on one host; on two only while an old worker is being taken away, and then the newer counts. */
function newestOfEach(workers: ObservedWorker[]): ObservedWorker[] {
  const newest = new Map<string, ObservedWorker>();
  for (const worker of workers) {
    const other = newest.get(worker.sessionId);
    if (!other || other.epoch < worker.epoch) newest.set(worker.sessionId, worker);
  }
  return [...newest.values()];
}
