import { readFileSync } from 'node:fs';
import type Docker from 'dockerode';
import type { Container, ContainerInspectInfo } from 'dockerode';
import type { Clock } from '../../../kernel/clock.ts';
import { FlotillaError, messageOf, unavailable } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import type { EnsureOptions, WorkerSpec, WorkerStats } from '../../../services/fleet/ports.ts';
import { linesOf } from './container-log.ts';
import { ContainerObserver, type SeenWorker } from './container-observer.ts';
import {
  containerName,
  containerOptions,
  LABEL,
  type Role,
  SECRETS_DIR,
  secretFiles,
  WORKER_USER,
} from './container-spec.ts';
import { containerStats } from './container-stats.ts';
import { engineClient } from './engine-client.ts';
import { explained, reasonOf, statusOf } from './engine-errors.ts';
import { containerEvents } from './engine-events.ts';
import type { DockerHost } from './hosts.ts';
import { ImagePull } from './image-pull.ts';
import { KEPT_LINES, type KeptLogs } from './kept-logs.ts';
import { type EngineWarnings, warnOfOpenEngine } from './open-engine.ts';
import { tarOf } from './secret-files.ts';
import { StartGate } from './start-gate.ts';
import { WorkerNetwork } from './worker-network.ts';

export interface EngineHostOptions {
  host: DockerHost;
  fleetId: string;
  image: string;
  clock: Clock;
  log: Logger;
  /** Beyond four at once an engine starts fewer in all. */
  startsAtOnce?: number;
  /** For tests; an engine that is silent for so long counts as not answering. */
  silentMs?: number;
  /** Where the last lines of removed containers go. */
  keptLogs?: KeptLogs;
}

const SILENT_MS = 30_000;
const STARTS_AT_ONCE = 4;
const GONE_EVERY_MS = 50;
const GONE_TIMEOUT_MS = 20_000;

/** The workers of one fleet on one engine. Every call rejects when the engine does not answer. */
export class EngineHost {
  readonly #options: EngineHostOptions;
  /** For calls that are answered soon. */
  readonly #docker: Docker;
  /** For those that wait. */
  readonly #patient: Docker;
  readonly #images: ImagePull;
  readonly #network: WorkerNetwork;
  readonly #gate: StartGate;
  readonly #observer: ContainerObserver;
  /** Starts that go on; the list may not show them yet. */
  starting = 0;

  constructor(options: EngineHostOptions) {
    this.#options = options;
    const { host, clock, log } = options;
    this.#docker = engineClient(host, options.silentMs ?? SILENT_MS);
    this.#patient = engineClient(host, null);
    this.#observer = new ContainerObserver(this.#docker, host.name, clock);
    this.#gate = new StartGate(options.startsAtOnce ?? STARTS_AT_ONCE);
    this.#network = new WorkerNetwork(this.#docker, options.fleetId, clock);
    this.#images = new ImagePull(this.#patient, host.name, clock, log);
  }

  get name(): string {
    return this.#options.host.name;
  }

  get capacity(): number {
    return this.#options.host.capacity;
  }

  /** Whether the engine answers; also compares the clocks, and warns of one that anybody may use. */
  async ping(): Promise<void> {
    const { clock, host, log } = this.#options;
    const before = clock.nowMs();
    const info = await this.#ask(
      () => this.#docker.info() as Promise<{ SystemTime: string } & EngineWarnings>,
    );
    if (!host.insecure) warnOfOpenEngine(host.name, info, log);
    this.#observer.aheadMs = Date.parse(info.SystemTime) - (before + clock.nowMs()) / 2 || 0;
  }

  async list(): Promise<SeenWorker[]> {
    const found = await this.#ask(() => this.#docker.listContainers(this.#ours()));
    return await this.#ask(() => this.#observer.listed(found));
  }

  /** The mark of the proxy of each container that has one. */
  async proxyMarks(): Promise<string[]> {
    const found = await this.#ask(() => this.#docker.listContainers(this.#ours()));
    return found.map(({ Labels }) => Labels[LABEL.proxy] ?? '').filter((mark) => mark !== '');
  }

  /** Whoever has this role, whatever its state. */
  async find(sessionId: string, role: Role = 'worker'): Promise<SeenWorker | null> {
    const info = await this.#inspect(sessionId, role);
    return info === null ? null : await this.#ask(() => this.#observer.observe(info));
  }

  /** @throws FlotillaError `image_missing`, `image_unreachable` */
  async prepareImage(image: string, options: EnsureOptions): Promise<void> {
    const present = await this.#unless([400, 404], () => this.#docker.getImage(image).inspect());
    if (present === null) await this.#images.pull(image, options);
  }

  /** Makes and starts a container. One of the same name must not be there. */
  async start(spec: WorkerSpec, options: EnsureOptions = {}, role: Role = 'worker'): Promise<SeenWorker> {
    this.starting += 1;
    try {
      return await this.#gate.run(() => this.#start(spec, options, role));
    } finally {
      this.starting -= 1;
    }
  }

  /** Makes a successor the worker; the name of the worker must be free. */
  async promote(successor: SeenWorker): Promise<SeenWorker> {
    const { sessionId, containerId } = successor;
    await this.#ask(() => this.#docker.getContainer(containerId).rename({ name: this.#nameOf(sessionId) }));
    return { ...successor, role: 'worker' };
  }

  async signal(sessionId: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    // 404: gone. 409: it does not run.
    await this.#unless([404, 409], () => this.#container(sessionId).kill({ signal }));
  }

  /** Resolves when the container does not run any more. */
  async ended(sessionId: string, signal: AbortSignal): Promise<void> {
    const container = this.#patient.getContainer(this.#nameOf(sessionId));
    await this.#unless([404], () => container.wait({ condition: 'not-running', abortSignal: signal }));
  }

  /** Kills and removes the container with all that is its own, and waits until its name is free. */
  async remove(sessionId: string, role: Role = 'worker'): Promise<void> {
    if (role === 'worker') await this.#keepLog(sessionId);
    // 409: somebody else removes it already.
    await this.#unless([404, 409], () => this.#container(sessionId, role).remove({ force: true, v: true }));
    const { clock } = this.#options;
    const deadline = clock.monotonicMs() + GONE_TIMEOUT_MS;
    while ((await this.#inspect(sessionId, role)) !== null) {
      if (clock.monotonicMs() > deadline) {
        throw unavailable('container_stays', `The container of ${sessionId} on ${this.name} does not go.`);
      }
      await clock.sleep(GONE_EVERY_MS);
    }
  }

  async logs(sessionId: string, lines: number): Promise<string[]> {
    const log = await this.#unless([404], () =>
      this.#container(sessionId).logs({ stdout: true, stderr: true, tail: lines }),
    );
    return log === null ? [] : linesOf(log);
  }

  async stats(sessionId: string): Promise<WorkerStats | null> {
    return await this.#unless([404, 409], () => containerStats(this.#container(sessionId)));
  }

  /** Session ids of containers with which something happened, until the stream breaks off or is aborted. */
  async *events(signal: AbortSignal): AsyncGenerator<string> {
    try {
      yield* containerEvents(this.#patient, this.#options.fleetId, signal);
    } catch (error) {
      throw explained(error, this.name);
    }
  }

  /** Gives up pulls, and takes the workers' network away, unless there are workers. */
  async close(signal: AbortSignal): Promise<void> {
    this.#images.close();
    await this.#ask(() => this.#network.remove(signal));
  }

  async #start(spec: WorkerSpec, waiting: EnsureOptions, role: Role): Promise<SeenWorker> {
    const { fleetId, image } = this.#options;
    const files = tarOf(
      secretFiles(spec, (path) => readFileSync(path)),
      WORKER_USER,
    );
    const network = await this.#ask(() => this.#network.id());
    const options = containerOptions(spec, { fleetId, image: spec.image ?? image, network, role });
    const container = await this.#create(options, waiting);
    try {
      await this.#ask(() => container.putArchive(files, { path: SECRETS_DIR }));
      await this.#ask(() => container.start());
      // One that has ended by now shows in the next list.
      return this.#observer.justStarted(container.id, options.Labels ?? {}, role);
    } catch (error) {
      if (statusOf(error) === 404) this.#network.forget();
      await container.remove({ force: true, v: true }).catch(() => undefined);
      throw this.#startError(error, spec);
    }
  }

  async #create(options: ReturnType<typeof containerOptions>, waiting: EnsureOptions): Promise<Container> {
    const { image } = this.#options;
    try {
      return await this.#ask(() => this.#docker.createContainer(options));
    } catch (error) {
      if (statusOf(error) !== 404) throw this.#startError(error);
      await this.#images.pull(options.Image ?? image, waiting);
      return await this.#ask(() => this.#docker.createContainer(options));
    }
  }

  /** An answer of the engine becomes a sentence that a session can show. */
  #startError(error: unknown, spec?: WorkerSpec): unknown {
    if (error instanceof FlotillaError || statusOf(error) === null || statusOf(error) === 409) return error;
    const why = reasonOf(error);
    const what = spec ? 'start the worker' : 'make the container';
    // What is wrong with the request stays wrong; the engine's own troubles, such as a full disk, pass.
    const code = (statusOf(error) ?? 0) < 500 ? 'worker_not_started' : 'engine_failed';
    return unavailable(code, `The engine ${this.name} could not ${what}: ${why}`, {
      cause: error,
    });
  }

  async #inspect(sessionId: string, role: Role): Promise<ContainerInspectInfo | null> {
    return await this.#unless([404], () => this.#container(sessionId, role).inspect());
  }

  /** A log that cannot be read or kept stops nothing. */
  async #keepLog(sessionId: string): Promise<void> {
    const { keptLogs, log } = this.#options;
    try {
      await keptLogs?.keep(sessionId, await this.logs(sessionId, KEPT_LINES));
    } catch (error) {
      log.debug({ sessionId, error: messageOf(error) }, 'the log of a worker could not be kept');
    }
  }

  #ours(): { all: true; filters: { label: string[] } } {
    return { all: true, filters: { label: [`${LABEL.fleet}=${this.#options.fleetId}`] } };
  }

  #nameOf(sessionId: string, role: Role = 'worker'): string {
    return containerName(this.#options.fleetId, sessionId, role);
  }

  #container(sessionId: string, role: Role = 'worker'): Container {
    return this.#docker.getContainer(this.#nameOf(sessionId, role));
  }

  async #ask<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw explained(error, this.name);
    }
  }

  /** Null for these answers. */
  async #unless<T>(statuses: readonly number[], call: () => Promise<T>): Promise<T | null> {
    try {
      return await this.#ask(call);
    } catch (error) {
      const status = statusOf(error);
      if (status !== null && statuses.includes(status)) return null;
      throw error;
    }
  }
}
