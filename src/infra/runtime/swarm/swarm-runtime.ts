import { conflict, FlotillaError, messageOf, unavailable } from '../../../kernel/errors.ts';
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
  WorkerRuntime,
  WorkerSpec,
  WorkerStats,
} from '../../../services/fleet/ports.ts';
import { checkReference } from '../docker/container-spec.ts';
import { reasonOf, statusOf } from '../docker/engine-errors.ts';
import type { DockerHost } from '../docker/hosts.ts';
import { KEPT_LINES, KeptLogs } from '../docker/kept-logs.ts';
import type { EngineRuntimeOptions } from '../engine-options.ts';
import { SessionTurns } from '../session-turns.ts';
import { warnOfOldEngine } from './engine-age.ts';
import { FleetNetwork } from './fleet-network.ts';
import { FleetSecrets } from './fleet-secrets.ts';
import { exactImage } from './image-reference.ts';
import { isNetworkGone, SwarmManagers } from './managers.ts';
import { parked, serviceName } from './service-spec.ts';
import { type Refusal, ServiceStart } from './service-start.ts';
import { runtimeNodes } from './swarm-nodes.ts';
import { SwarmView } from './swarm-view.ts';
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
/** Each look is two calls; what it finds late is time without a connection. */
const FIRST_LOOKS_MS = 10;
const LOOK_EVERY_MS = 50;
const WATCH_EVERY_MS = 1000;
/** Beyond the time to stop. */
const GONE_WITHIN_MS = 20_000;

/**
 * One service with one replica per session on a Docker Swarm. It goes to the node that the plan proposes, or, if that
 * does not fit, to the one that Swarm chooses; Swarm ends what is unwanted, and starts nothing again by itself. Workers outlive the orchestrator, and nothing is remembered that Swarm does not tell.
 */
export class SwarmRuntime
  implements WorkerRuntime, LogSource, StatsSource, RuntimeLifecycle, ImageSource, NodeSource
{
  readonly #options: SwarmRuntimeOptions;
  readonly #managers: SwarmManagers;
  readonly #network: FleetNetwork;
  readonly #secrets: FleetSecrets;
  readonly #view: SwarmView;
  readonly #start: ServiceStart;
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
  }

  /** A swarm that cannot be asked now may be there later: until then nothing is known of its workers. */
  async open(): Promise<void> {
    try {
      await this.#managers.ping();
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
    const name = this.#nameOf(sessionId);
    const present = await this.#view.find(name);
    if (present === null || present.worker.state === 'exited') return;
    await this.#managers.updateService<{ Version: { Index: number }; Spec: object }>(name, ({ Spec: spec }) =>
      parked(spec),
    );
    await this.#until(async () => !(await this.#view.stillRuns(present.worker)), sessionId);
  }

  remove(sessionId: string): Promise<void> {
    return this.#turns.take(sessionId, () => this.#remove(sessionId));
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

  /** Where a manager has never been asked yet there are none. */
  nodes(): RuntimeNode[] {
    return runtimeNodes(this.#view.lastNodes);
  }

  /** @throws FlotillaError `stats_unavailable` when no engine of ours runs on the worker's node */
  async stats(sessionId: string): Promise<WorkerStats | null> {
    const found = await this.#view.find(this.#nameOf(sessionId));
    if (found?.worker.state !== 'running' || !found.task) return null;
    return await workerStats(this.#managers, found.task, found.worker.node ?? 'none');
  }

  async logs(sessionId: string, { lines }: { lines: number }): Promise<string[]> {
    const present = await this.#view.logs(this.#nameOf(sessionId), lines);
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
      const present = await this.#view.find(this.#nameOf(sessionId));
      if (present && present.worker.epoch > epoch) {
        throw conflict('newer_worker', 'A worker of a newer epoch is there already.');
      }
      try {
        if (present?.worker.epoch !== epoch) {
          await this.#remove(sessionId);
          await this.#start.create(spec);
        }
        const start = await this.#start.outcome(spec, options);
        if ('worker' in start) return start.worker;
        await this.#remove(sessionId);
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

  /** With all that is its own, and until nothing of it runs any more. */
  async #remove(sessionId: string): Promise<void> {
    const name = this.#nameOf(sessionId);
    await this.#keepLog(sessionId);
    await this.#managers.unless([404], (docker) => docker.getService(name).remove());
    await Promise.all([
      this.#until(async () => !(await this.#view.anyRuns(sessionId)), sessionId),
      // Without a service they are nobody's any more, also while its container still ends.
      this.#secrets.remove(sessionId),
      this.#network.removeOld(),
    ]);
  }

  /** The log goes with the service. One that cannot be read or kept stops nothing. */
  async #keepLog(sessionId: string): Promise<void> {
    if (!this.#keptLogs) return;
    try {
      await this.#keptLogs.keep(sessionId, await this.#view.logs(this.#nameOf(sessionId), KEPT_LINES));
    } catch (error) {
      this.#options.log.debug(
        { sessionId, error: messageOf(error) },
        'the log of a worker could not be kept',
      );
    }
  }

  async #until(check: () => Promise<boolean>, sessionId: string): Promise<void> {
    const { clock, stopGraceMs = STOP_GRACE_MS } = this.#options;
    const deadline = clock.monotonicMs() + stopGraceMs + GONE_WITHIN_MS;
    for (let pauseMs = FIRST_LOOKS_MS; !(await check()); pauseMs = Math.min(2 * pauseMs, LOOK_EVERY_MS)) {
      if (clock.monotonicMs() > deadline) {
        throw unavailable('worker_stays', `The worker of ${sessionId} in the swarm cannot be ended.`);
      }
      await clock.sleep(pauseMs);
    }
  }

  #nameOf(sessionId: string): string {
    return serviceName(this.#options.fleetId, sessionId);
  }
}

function notStarted({ why, placed }: Refusal): unknown {
  if (!placed) return unavailable('no_place', `No node of the swarm takes the worker: ${why}`);
  const missing = /no such image|manifest unknown|pull access denied/i.test(why);
  const code = missing ? 'image_missing' : 'worker_not_started';
  return unavailable(code, `The swarm could not start the worker: ${why}`);
}

/** An answer of the engine becomes a sentence that a session can show. */
function startError(error: unknown): unknown {
  if (error instanceof FlotillaError || statusOf(error) === null) return error;
  return unavailable('worker_not_started', `The swarm could not start the worker: ${reasonOf(error)}`, {
    cause: error,
  });
}
