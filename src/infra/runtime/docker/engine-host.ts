import { readFileSync } from 'node:fs';
import type Docker from 'dockerode';
import type { Container, ContainerInfo, ContainerInspectInfo } from 'dockerode';
import type { Clock } from '../../../kernel/clock.ts';
import { FlotillaError, unavailable } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import type { ObservedWorker, WorkerSpec, WorkerStats } from '../../../services/fleet/ports.ts';
import { linesOf } from './container-log.ts';
import {
  containerName,
  containerOptions,
  LABEL,
  SECRETS_DIR,
  secretFiles,
  WORKER_USER,
} from './container-spec.ts';
import { engineClient } from './engine-client.ts';
import { explained, reasonOf, statusOf } from './engine-errors.ts';
import { exitFacts } from './exit-facts.ts';
import type { DockerHost } from './hosts.ts';
import { ImagePull } from './image-pull.ts';
import { tarOf } from './secret-files.ts';
import { StartGate } from './start-gate.ts';
import { WorkerNetwork } from './worker-network.ts';

export interface EngineHostOptions {
  host: DockerHost;
  fleetId: string;
  image: string;
  clock: Clock;
  log: Logger;
  /** For tests; an engine that is silent for so long counts as not answering. */
  silentMs?: number;
}

const SILENT_MS = 30_000;
/** Beyond four at once an engine starts fewer in all. */
const STARTS_AT_ONCE = 4;
const LAST_LINES = 20;
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
  readonly #gate = new StartGate(STARTS_AT_ONCE);
  /** What is known of ended containers, by container id: it does not change any more. */
  readonly #ended = new Map<string, Pick<ObservedWorker, 'ranMs' | 'exit'>>();
  /** By how much the engine's clock is ahead of ours. */
  #aheadMs = 0;
  /** Starts that go on; the list may not show them yet. */
  starting = 0;

  constructor(options: EngineHostOptions) {
    this.#options = options;
    const { host, clock, log } = options;
    this.#docker = engineClient(host, options.silentMs ?? SILENT_MS);
    this.#patient = engineClient(host, null);
    this.#network = new WorkerNetwork(this.#docker, options.fleetId);
    this.#images = new ImagePull(this.#patient, host.name, clock, log);
  }

  get name(): string {
    return this.#options.host.name;
  }

  get capacity(): number {
    return this.#options.host.capacity;
  }

  /** Whether the engine answers; also compares the clocks. */
  async ping(): Promise<void> {
    const { clock } = this.#options;
    const before = clock.nowMs();
    const info = await this.#ask(() => this.#docker.info() as Promise<{ SystemTime: string }>);
    this.#aheadMs = Date.parse(info.SystemTime) - (before + clock.nowMs()) / 2 || 0;
  }

  async list(): Promise<ObservedWorker[]> {
    const found = await this.#ask(() => this.#docker.listContainers(this.#ours()));
    const ids = new Set(found.map(({ Id }) => Id));
    for (const id of this.#ended.keys()) if (!ids.has(id)) this.#ended.delete(id);
    const workers = await Promise.all(found.map((info) => this.#observeListed(info)));
    return workers.filter((worker) => worker !== null);
  }

  /** The mark of the proxy of each container that has one. */
  async proxyMarks(): Promise<string[]> {
    const found = await this.#ask(() => this.#docker.listContainers(this.#ours()));
    return found.map(({ Labels }) => Labels[LABEL.proxy] ?? '').filter((mark) => mark !== '');
  }

  /** The session's worker, whatever its state. */
  async find(sessionId: string): Promise<ObservedWorker | null> {
    const info = await this.#inspect(sessionId);
    return info === null ? null : await this.#observe(info);
  }

  /** @throws FlotillaError `image_missing` */
  async prepareImage(image: string): Promise<void> {
    const present = await this.#unless([400, 404], () => this.#docker.getImage(image).inspect());
    if (present === null) await this.#images.pull(image);
  }

  /** Makes and starts a container. One of the same name must not be there. */
  async start(spec: WorkerSpec): Promise<ObservedWorker> {
    this.starting += 1;
    try {
      return await this.#gate.run(() => this.#start(spec));
    } finally {
      this.starting -= 1;
    }
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
  async remove(sessionId: string): Promise<void> {
    // 409: somebody else removes it already.
    await this.#unless([404, 409], () => this.#container(sessionId).remove({ force: true, v: true }));
    const { clock } = this.#options;
    const deadline = clock.monotonicMs() + GONE_TIMEOUT_MS;
    while ((await this.#inspect(sessionId)) !== null) {
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
    const stats = await this.#unless([404, 409], () =>
      this.#container(sessionId).stats({ stream: false, 'one-shot': true }),
    );
    const { usage, stats: details } = stats?.memory_stats ?? {};
    if (!stats || usage === undefined) return null;
    const files = details as { total_inactive_file?: number; inactive_file?: number } | undefined;
    const cached = files?.total_inactive_file ?? files?.inactive_file ?? 0;
    return { memoryBytes: usage - cached, cpuMs: stats.cpu_stats.cpu_usage.total_usage / 1e6 };
  }

  /** Session ids of containers with which something happened, until the stream breaks off or is aborted. */
  async *events(signal: AbortSignal): AsyncGenerator<string> {
    const type: 'container'[] = ['container'];
    const event = ['start', 'die', 'oom', 'destroy'];
    const filters = { type, event, label: [`${LABEL.fleet}=${this.#options.fleetId}`] };
    const options = { filters, abortSignal: signal };
    const stream = await this.#ask(() => this.#patient.getEvents(options));
    let rest = '';
    for await (const chunk of stream) {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines.filter((text) => text.trim() !== '')) {
        const { Actor } = JSON.parse(line) as { Actor?: { Attributes?: Record<string, string> } };
        const sessionId = Actor?.Attributes?.[LABEL.session];
        if (sessionId !== undefined) yield sessionId;
      }
    }
  }

  /** Takes the workers' network away, unless somebody is still on it. */
  async removeNetwork(): Promise<void> {
    await this.#ask(() => this.#network.remove());
  }

  async #start(spec: WorkerSpec): Promise<ObservedWorker> {
    const { fleetId, image } = this.#options;
    const files = tarOf(
      secretFiles(spec, (path) => readFileSync(path)),
      WORKER_USER,
    );
    const network = await this.#ask(() => this.#network.id());
    const options = containerOptions(spec, { fleetId, image: spec.image ?? image, network });
    const container = await this.#create(options);
    try {
      await this.#ask(() => container.putArchive(files, { path: SECRETS_DIR }));
      await this.#ask(() => container.start());
      // One that has ended by now shows in the next list.
      return this.#running(options.Labels ?? {}, this.#options.clock.nowMs() + this.#aheadMs);
    } catch (error) {
      if (statusOf(error) === 404) this.#network.forget();
      await container.remove({ force: true, v: true }).catch(() => undefined);
      throw this.#startError(error, spec);
    }
  }

  async #create(options: ReturnType<typeof containerOptions>): Promise<Container> {
    const { image } = this.#options;
    try {
      return await this.#ask(() => this.#docker.createContainer(options));
    } catch (error) {
      if (statusOf(error) !== 404) throw this.#startError(error);
      await this.#images.pull(options.Image ?? image);
      return await this.#ask(() => this.#docker.createContainer(options));
    }
  }

  /** An answer of the engine becomes a sentence that a session can show. */
  #startError(error: unknown, spec?: WorkerSpec): unknown {
    if (error instanceof FlotillaError || statusOf(error) === null || statusOf(error) === 409) return error;
    const why = reasonOf(error);
    const what = spec ? 'start the worker' : 'make the container';
    return unavailable('worker_not_started', `The engine ${this.name} could not ${what}: ${why}`, {
      cause: error,
    });
  }

  async #inspect(sessionId: string): Promise<ContainerInspectInfo | null> {
    return await this.#unless([404], () => this.#container(sessionId).inspect());
  }

  /** Null for one that went between the list and the look at it. */
  async #observeListed(info: ContainerInfo): Promise<ObservedWorker | null> {
    const { State: state, Labels: labels, Created: createdSeconds } = info;
    if (state === 'running' || state === 'paused' || state === 'restarting') {
      return this.#running(labels, createdSeconds * 1000);
    }
    const known = this.#ended.get(info.Id);
    if (known) return { ...identity(labels), node: this.name, state: 'exited', ...known };
    const inspected = await this.#unless([404], () => this.#docker.getContainer(info.Id).inspect());
    return inspected === null ? null : await this.#observe(inspected);
  }

  async #observe(info: ContainerInspectInfo): Promise<ObservedWorker> {
    const { Config: config, State: state } = info;
    if (state.Running) return this.#running(config.Labels, Date.parse(state.StartedAt));
    const log = await this.#unless([404, 409], () =>
      this.#docker.getContainer(info.Id).logs({ stdout: true, stderr: true, tail: LAST_LINES }),
    );
    const facts = exitFacts(info, log === null ? [] : linesOf(log));
    // One that was only made may be starting now.
    if (state.Status === 'exited') this.#ended.set(info.Id, facts);
    return { ...identity(config.Labels), node: this.name, state: 'exited', ...facts };
  }

  #running(labels: Record<string, string>, sinceMs: number): ObservedWorker {
    const ranMs = Math.max(1, this.#options.clock.nowMs() + this.#aheadMs - sinceMs);
    return { ...identity(labels), node: this.name, state: 'running', ranMs, exit: null };
  }

  #ours(): { all: true; filters: { label: string[] } } {
    return { all: true, filters: { label: [`${LABEL.fleet}=${this.#options.fleetId}`] } };
  }

  #nameOf(sessionId: string): string {
    return containerName(this.#options.fleetId, sessionId);
  }

  #container(sessionId: string): Container {
    return this.#docker.getContainer(this.#nameOf(sessionId));
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

const identity = (labels: Record<string, string>) => ({
  sessionId: labels[LABEL.session] ?? '',
  epoch: Number(labels[LABEL.epoch]),
  generation: Number(labels[LABEL.generation]),
});
