import { conflict, messageOf } from '../../../kernel/errors.ts';
import type {
  EnsureOptions,
  ImageSource,
  LogSource,
  NodeSource,
  ObservedWorker,
  RuntimeHint,
  RuntimeLifecycle,
  RuntimeNode,
  StatsSource,
  StopOptions,
  SuccessorSource,
  WorkerRuntime,
  WorkerSpec,
  WorkerStats,
} from '../../../services/fleet/ports.ts';
import { checkReference } from '../docker/container-spec.ts';
import { statusOf } from '../docker/engine-errors.ts';
import type { DockerHost } from '../docker/hosts.ts';
import { KeptLogs } from '../docker/kept-logs.ts';
import { workersOfSessions } from '../docker/workers-of-sessions.ts';
import type { EngineRuntimeOptions } from '../engine-options.ts';
import { SessionTurns } from '../session-turns.ts';
import { warnOfOldEngine } from './engine-age.ts';
import { FleetNetwork } from './fleet-network.ts';
import { FleetSecrets } from './fleet-secrets.ts';
import { exactImage } from './image-reference.ts';
import { isNetworkGone, SwarmManagers, type UpdatableService } from './managers.ts';
import { promoted } from './service-spec.ts';
import { type Refusal, ServiceStart } from './service-start.ts';
import { notStarted, startError } from './start-errors.ts';
import { runtimeNodes } from './swarm-nodes.ts';
import { type SessionService, SwarmView } from './swarm-view.ts';
import { watchTasks } from './watch-tasks.ts';
import { WorkerEnds } from './worker-ends.ts';
import { workerStats } from './worker-stats.ts';

export interface SwarmRuntimeOptions extends EngineRuntimeOptions {
  /** Managers of one swarm. */
  managers: readonly DockerHost[];
  /** For tests; how long a worker waits for a place on a node. */
  placedWithinMs?: number;
  /** How long a worker may take to end. Swarm knows it from the start of a worker, and of no other time. */
  stopGraceMs?: number;
}

const STOP_GRACE_MS = 10_000;
const CREATE_ATTEMPTS = 3;

/**
 * One service with one replica per session on a Docker Swarm. It goes to the node that the plan proposes, or, if that
 * does not fit, to the one that Swarm chooses; Swarm ends what is unwanted, and starts nothing again by itself.
 * Workers outlive the orchestrator, and nothing is remembered that Swarm does not tell.
 */
export class SwarmRuntime
  implements WorkerRuntime, LogSource, StatsSource, RuntimeLifecycle, ImageSource, NodeSource, SuccessorSource
{
  readonly #options: SwarmRuntimeOptions;
  readonly #managers: SwarmManagers;
  readonly #network: FleetNetwork;
  readonly #secrets: FleetSecrets;
  readonly #view: SwarmView;
  readonly #start: ServiceStart;
  readonly #ends: WorkerEnds;
  readonly #keptLogs: KeptLogs | null;
  /** Calls for one session go one after the other. */
  readonly #turns = new SessionTurns();

  constructor(options: SwarmRuntimeOptions) {
    const { managers, fleetId, clock, log, silentMs } = options;
    this.#options = options;
    this.#keptLogs = options.logDir === undefined ? null : new KeptLogs(options.logDir);
    this.#managers = new SwarmManagers(managers, clock, silentMs);
    this.#network = new FleetNetwork(this.#managers, fleetId, log);
    this.#secrets = new FleetSecrets(this.#managers, fleetId);
    this.#view = new SwarmView(this.#managers, fleetId);
    this.#start = new ServiceStart({
      managers: this.#managers,
      network: this.#network,
      secrets: this.#secrets,
      view: this.#view,
      fleetId,
      image: options.image,
      stopGraceMs: options.stopGraceMs ?? STOP_GRACE_MS,
      placedWithinMs: options.placedWithinMs,
      clock,
    });
    this.#ends = new WorkerEnds({
      managers: this.#managers,
      network: this.#network,
      secrets: this.#secrets,
      view: this.#view,
      keptLogs: this.#keptLogs,
      stopGraceMs: options.stopGraceMs ?? STOP_GRACE_MS,
      clock,
      log,
    });
  }

  /** A swarm that cannot be asked now may be there later: until then nothing is known of its workers. */
  async open(): Promise<void> {
    try {
      await this.#managers.ping(this.#options.log);
      await this.#secrets.removeOrphans();
      await warnOfOldEngine(this.#managers, this.#options.log);
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

  checkImage(image: string): void {
    checkReference(image);
  }

  /** The nodes fetch it by themselves; here it shows whether a manager can be asked about it. */
  async prepareImage(image: string): Promise<void> {
    await exactImage(this.#managers, image);
  }

  ensure(spec: WorkerSpec, options: EnsureOptions = {}): Promise<ObservedWorker> {
    return this.#turns.take(spec.sessionId, () => this.#ensure(spec, options));
  }

  /** Swarm gives the worker the time that it was started with, whatever is said here. */
  async stop(sessionId: string, _options: StopOptions): Promise<void> {
    await this.#ends.stop(sessionId);
  }

  remove(sessionId: string): Promise<void> {
    return this.#turns.take(sessionId, () => this.#ends.remove(sessionId));
  }

  prepare(spec: WorkerSpec & { node: string }, options: EnsureOptions = {}): Promise<void> {
    return this.#turns.take(spec.sessionId, () => this.#prepare(spec, options));
  }

  async successor(sessionId: string, epoch: number): Promise<ObservedWorker | null> {
    const found = await this.#view.ofEpoch(sessionId, epoch);
    return found?.role === 'successor' ? found.worker : null;
  }

  promote(sessionId: string, epoch: number): Promise<void> {
    return this.#turns.take(sessionId, async () => {
      const found = await this.#view.ofEpoch(sessionId, epoch);
      if (found?.role === 'successor' && found.worker.state === 'running') await this.#promote(found);
    });
  }

  discard(sessionId: string, epoch?: number): Promise<void> {
    return this.#turns.take(sessionId, () =>
      this.#ends.remove(sessionId, (each, role) => role === 'successor' && (epoch ?? each) === each),
    );
  }

  async list(): Promise<ObservedWorker[]> {
    const { workers, replaced } = workersOfSessions(await this.#view.list());
    for (const each of replaced) this.#replaced(each);
    return workers;
  }

  watch(signal: AbortSignal): AsyncGenerator<RuntimeHint> {
    return watchTasks(this.#view, this.#options.clock, signal);
  }

  /** Where a manager has never been asked yet there are none. */
  nodes(): RuntimeNode[] {
    return runtimeNodes(this.#view.lastNodes);
  }

  /** @throws FlotillaError `stats_unavailable` when no engine of ours runs on the worker's node */
  async stats(sessionId: string): Promise<WorkerStats | null> {
    const found = await this.#view.find(sessionId);
    if (found?.worker.state !== 'running' || !found.task) return null;
    return await workerStats(this.#managers, found.task, found.worker.node ?? 'none');
  }

  async logs(sessionId: string, { lines }: { lines: number }): Promise<string[]> {
    const present = await this.#view.logs(sessionId, lines);
    if (present.length >= lines || !this.#keptLogs) return present.slice(-lines);
    return [...(await this.#keptLogs.read(sessionId, lines)), ...present].slice(-lines);
  }

  /** Those of a session that is gone for good. */
  async removeLogs(sessionId: string): Promise<void> {
    await this.#keptLogs?.remove(sessionId);
  }

  async #ensure(wanted: WorkerSpec, options: EnsureOptions): Promise<ObservedWorker> {
    const { sessionId, epoch } = wanted;
    let spec = wanted;
    let refused: Refusal | undefined;
    for (let attempt = 1; ; attempt += 1) {
      const present = await this.#view.ofSession(sessionId);
      if (present.some(({ role, worker }) => role === 'worker' && worker.epoch > epoch)) {
        throw conflict('newer_worker', 'A worker of a newer epoch is there already.');
      }
      const mine = present.find(({ worker }) => worker.epoch === epoch);
      try {
        if (mine && (mine.role === 'worker' || mine.worker.state === 'running')) {
          // Before the old one goes: listed the session is at any time.
          if (mine.role === 'successor') await this.#promote(mine);
          if (present.some(({ worker }) => worker.epoch < epoch)) {
            await this.#ends.remove(sessionId, (each) => each < epoch);
          }
        } else {
          // One of a later epoch is to follow this one.
          await this.#ends.remove(sessionId, (each) => each <= epoch);
          const left = present.filter(({ worker }) => worker.epoch > epoch);
          await this.#start.create(spec, 'worker', left.map(nameOf));
        }
        const start = await this.#start.outcome(spec, options);
        if ('worker' in start) return start.worker;
        await this.#ends.remove(sessionId, (each) => each === epoch);
        if (start.staleNetwork !== undefined && attempt < CREATE_ATTEMPTS) {
          await this.#network.renew(start.staleNetwork);
          continue;
        }
        if (spec.node === undefined) throw notStarted(refused?.placed ? refused : start);
        // Swarm knows better what fits where: then wherever it says, but not there, and nowhere that is closed.
        const { node, ...anywhere } = spec;
        spec = { ...anywhere, avoid: [...(spec.avoid ?? []), node] };
        refused = start;
      } catch (error) {
        // Its name was taken meanwhile, or its network was taken away: look again.
        const passing = statusOf(error) === 409 || isNetworkGone(error);
        if (!passing || attempt >= CREATE_ATTEMPTS) throw startError(error);
      }
    }
  }

  /** Beside the present worker, and in place of whatever was prepared before. */
  async #prepare(spec: WorkerSpec & { node: string }, options: EnsureOptions): Promise<void> {
    const { sessionId, epoch } = spec;
    await this.#ends.remove(sessionId, (each, role) => role === 'successor' && each !== epoch);
    const present = await this.#view.ofSession(sessionId);
    try {
      if (!present.some(({ worker }) => worker.epoch === epoch)) {
        await this.#start.create(spec, 'successor', present.map(nameOf));
      }
      const start = await this.#start.outcome(spec, options);
      if ('worker' in start) return;
      await this.#ends.remove(sessionId, (each) => each === epoch);
      // The next start notices, too, and no connection is lost by waiting for it.
      if (start.staleNetwork !== undefined) await this.#network.renew(start.staleNetwork);
      throw notStarted(start);
    } catch (error) {
      throw startError(error);
    }
  }

  async #promote({ service }: SessionService): Promise<void> {
    await this.#managers.updateService<UpdatableService>(service.ID, ({ Spec: spec }) => promoted(spec));
  }

  /** An older service beside a newer one: nobody else would take it away. */
  #replaced({ sessionId, epoch }: ObservedWorker): void {
    if (this.#turns.has(sessionId)) return;
    this.#turns
      .take(sessionId, () =>
        this.#ends.remove(sessionId, (each, role) => role === 'worker' && each === epoch),
      )
      .catch((error: unknown) => {
        this.#options.log.debug({ sessionId, error: messageOf(error) }, 'an old worker could not be removed');
      });
  }
}

const nameOf = ({ service }: SessionService): string => service.Spec.Name;
