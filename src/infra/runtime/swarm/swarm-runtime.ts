import { readFileSync } from 'node:fs';
import type { Clock } from '../../../kernel/clock.ts';
import { conflict, FlotillaError, messageOf, unavailable } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import type {
  ImageSource,
  LogSource,
  ObservedWorker,
  RuntimeHint,
  RuntimeLifecycle,
  StopOptions,
  WorkerRuntime,
  WorkerSpec,
} from '../../../services/fleet/ports.ts';
import { reasonOf, statusOf } from '../docker/engine-errors.ts';
import type { DockerHost } from '../docker/hosts.ts';
import { FleetNetwork } from './fleet-network.ts';
import { FleetSecrets } from './fleet-secrets.ts';
import { exactImage } from './image-reference.ts';
import { SwarmManagers } from './managers.ts';
import { parked, serviceName, serviceOptions } from './service-spec.ts';
import { SwarmView } from './swarm-view.ts';
import { isBeforeStart } from './worker-of-service.ts';

export interface SwarmRuntimeOptions {
  /** Managers of one swarm. */
  managers: readonly DockerHost[];
  /** Tells the workers of this fleet from those of others on the same swarm. */
  fleetId: string;
  /** Of a worker. */
  image: string;
  clock: Clock;
  log: Logger;
  /** For tests. */
  silentMs?: number;
  /** How long a worker may take to end. Swarm knows it from the start of a worker, and of no other time. */
  stopGraceMs?: number;
}

const STOP_GRACE_MS = 10_000;
const CREATE_ATTEMPTS = 3;
const LOOK_EVERY_MS = 100;
const WATCH_EVERY_MS = 1000;
/** For a place on a node. */
const PLACED_WITHIN_MS = 10_000;
/** For the rest, which may include the pull of an image. */
const STARTED_WITHIN_MS = 15 * 60_000;
/** Beyond the time to stop. */
const GONE_WITHIN_MS = 20_000;

/**
 * One service with one replica per session on a Docker Swarm. Swarm chooses the node and ends what is unwanted; it
 * starts nothing again by itself. Workers outlive the orchestrator, and nothing is remembered that Swarm does not tell.
 */
export class SwarmRuntime implements WorkerRuntime, LogSource, RuntimeLifecycle, ImageSource {
  readonly #options: SwarmRuntimeOptions;
  readonly #managers: SwarmManagers;
  readonly #network: FleetNetwork;
  readonly #secrets: FleetSecrets;
  readonly #view: SwarmView;
  /** Calls for one session go one after the other. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: SwarmRuntimeOptions) {
    const { managers, fleetId, clock, log, silentMs } = options;
    this.#options = options;
    this.#managers = new SwarmManagers(managers, clock, silentMs);
    this.#network = new FleetNetwork(this.#managers, fleetId, log);
    this.#secrets = new FleetSecrets(this.#managers, fleetId);
    this.#view = new SwarmView(this.#managers, fleetId);
  }

  /** A swarm that cannot be asked now may be there later: until then nothing is known of its workers. */
  async open(): Promise<void> {
    try {
      await this.#managers.ping();
      await this.#secrets.removeOrphans();
    } catch (error) {
      this.#options.log.warn({ error: messageOf(error) }, 'the swarm does not answer');
    }
  }

  /** The workers stay. A network without any goes. */
  async close(_options: StopOptions): Promise<void> {
    await this.#network.remove().catch(() => undefined);
  }

  get image(): string {
    return this.#options.image;
  }

  /** The nodes fetch it by themselves; here it shows whether a manager can be asked about it. */
  async prepareImage(image: string): Promise<void> {
    await exactImage(this.#managers, image);
  }

  ensure(spec: WorkerSpec): Promise<ObservedWorker> {
    return this.#inTurn(spec.sessionId, () => this.#ensure(spec));
  }

  /** Swarm gives the worker the time that it was started with, whatever is said here. */
  async stop(sessionId: string, _options: StopOptions): Promise<void> {
    const name = this.#nameOf(sessionId);
    const present = await this.#view.find(name);
    if (present === null || present.worker.state === 'exited') return;
    const epoch = present.worker.epoch;
    await this.#managers.updateService<{ Version: { Index: number }; Spec: object }>(name, ({ Spec: spec }) =>
      parked(spec),
    );
    await this.#until(async () => {
      const now = await this.#view.find(name);
      return now === null || now.worker.epoch !== epoch || now.worker.state === 'exited';
    }, sessionId);
  }

  remove(sessionId: string): Promise<void> {
    return this.#inTurn(sessionId, () => this.#remove(sessionId));
  }

  list(): Promise<ObservedWorker[]> {
    return this.#view.list();
  }

  /** Swarm reports services, not tasks, so this looks again and again and tells what is different. */
  async *watch(signal: AbortSignal): AsyncGenerator<RuntimeHint> {
    let before: Map<string, string> | null = null;
    while (!signal.aborted) {
      const now = await this.#view.marks();
      for (const [sessionId, mark] of now) {
        if (before && before.get(sessionId) !== mark) yield { sessionId };
      }
      for (const sessionId of before?.keys() ?? []) if (!now.has(sessionId)) yield { sessionId };
      before = now;
      try {
        await this.#options.clock.sleep(WATCH_EVERY_MS, signal);
      } catch {
        return;
      }
    }
  }

  logs(sessionId: string, { lines }: { lines: number }): Promise<string[]> {
    return this.#view.logs(this.#nameOf(sessionId), lines);
  }

  async #ensure(spec: WorkerSpec): Promise<ObservedWorker> {
    const name = this.#nameOf(spec.sessionId);
    for (let attempt = 1; ; attempt += 1) {
      const present = await this.#view.find(name);
      if (present && present.worker.epoch > spec.epoch) {
        throw conflict('newer_worker', 'A worker of a newer epoch is there already.');
      }
      if (present?.worker.epoch === spec.epoch) return await this.#started(spec);
      await this.#remove(spec.sessionId);
      try {
        await this.#create(spec);
        return await this.#started(spec);
      } catch (error) {
        // Its name was taken meanwhile: look again whose it is.
        if (statusOf(error) !== 409 || attempt >= CREATE_ATTEMPTS) throw this.#startError(error);
      }
    }
  }

  async #create(spec: WorkerSpec): Promise<void> {
    const { fleetId, stopGraceMs = STOP_GRACE_MS } = this.#options;
    const [network, image] = await Promise.all([
      this.#network.id(),
      exactImage(this.#managers, spec.image ?? this.#options.image),
    ]);
    try {
      const secrets = await this.#secrets.create(spec, (path) => readFileSync(path));
      const options = serviceOptions(spec, { fleetId, image, network, secrets, stopGraceMs });
      await this.#managers.ask((docker) => docker.createService(options));
    } catch (error) {
      if (statusOf(error) === 404) this.#network.forget();
      // Those that a service uses stay. Without an answer nothing is known, and nothing is taken away.
      if (statusOf(error) !== null) await this.#secrets.remove(spec.sessionId).catch(() => undefined);
      throw error;
    }
  }

  /** Waits until the worker runs, or has ended, or will not start. */
  async #started(spec: WorkerSpec): Promise<ObservedWorker> {
    const { clock } = this.#options;
    const name = this.#nameOf(spec.sessionId);
    const beganAt = clock.monotonicMs();
    for (;;) {
      const found = await this.#view.find(name);
      if (found === null) {
        throw unavailable('worker_not_started', 'The service of the worker was taken away.');
      }
      const { worker, task } = found;
      if (worker.state === 'exited') {
        if (task?.Status.State !== 'rejected') return worker;
        return await this.#giveUp(spec, task.Status.Err ?? 'the node rejected it');
      }
      if (task && !isBeforeStart(task)) return worker;
      const waitedMs = clock.monotonicMs() - beganAt;
      const placed = (task?.NodeID ?? '') !== '';
      if (waitedMs > (placed ? STARTED_WITHIN_MS : PLACED_WITHIN_MS)) {
        return await this.#giveUp(spec, task?.Status.Err ?? 'it did not start in time');
      }
      await clock.sleep(LOOK_EVERY_MS);
    }
  }

  async #giveUp(spec: WorkerSpec, why: string): Promise<never> {
    await this.#remove(spec.sessionId);
    const missing = /no such image|manifest unknown|pull access denied/i.test(why);
    throw unavailable(
      missing ? 'image_missing' : 'worker_not_started',
      `The swarm could not start the worker: ${why}`,
    );
  }

  /** With all that is its own, and until nothing of it runs any more. */
  async #remove(sessionId: string): Promise<void> {
    const name = this.#nameOf(sessionId);
    await this.#managers.unless([404], (docker) => docker.getService(name).remove());
    await this.#until(async () => !(await this.#view.anyRuns(sessionId)), sessionId);
    await this.#secrets.remove(sessionId);
  }

  async #until(check: () => Promise<boolean>, sessionId: string): Promise<void> {
    const { clock, stopGraceMs = STOP_GRACE_MS } = this.#options;
    const deadline = clock.monotonicMs() + stopGraceMs + GONE_WITHIN_MS;
    while (!(await check())) {
      if (clock.monotonicMs() > deadline) {
        throw unavailable('worker_stays', `The worker of ${sessionId} in the swarm cannot be ended.`);
      }
      await clock.sleep(LOOK_EVERY_MS);
    }
  }

  /** An answer of the engine becomes a sentence that a session can show. */
  #startError(error: unknown): unknown {
    if (error instanceof FlotillaError || statusOf(error) === null) return error;
    return unavailable('worker_not_started', `The swarm could not start the worker: ${reasonOf(error)}`, {
      cause: error,
    });
  }

  #nameOf(sessionId: string): string {
    return serviceName(this.#options.fleetId, sessionId);
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
