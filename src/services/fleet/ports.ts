import type { PlannedWorker } from '../../domain/fleet-model.ts';
import type { NodeAttributes } from '../../domain/node-attributes.ts';
import { FlotillaError } from '../../kernel/errors.ts';
import type { Resources } from '../sessions/ports.ts';

/** What a worker is started with. */
export interface WorkerSpec {
  sessionId: string;
  /** Each start has its own, higher than all before. */
  epoch: number;
  /** Which restart of the session it belongs to. */
  generation: number;
  /** Variables that anyone on the host may see. */
  env: Readonly<Record<string, string>>;
  /** Variables that nobody else may see; a runtime may hand them over as `NAME_FILE`. */
  secrets: Readonly<Record<string, string>>;
  resources: Resources | null;
  /** What it runs from; absent: the runtime's own. */
  image?: string;
  /** Where it is to run; absent: the runtime decides. */
  node?: string;
  /** Where it is not to run if the runtime decides after all: nodes that are closed. */
  avoid?: readonly string[];
}

/** A worker as the runtime sees it: at most one a session. */
export interface ObservedWorker extends PlannedWorker {
  /** Where it runs; null where there is one place only. */
  node: string | null;
}

/** Something changed; `list` tells what. */
export interface RuntimeHint {
  sessionId: string;
}

export interface StopOptions {
  /** Time to end in order; then it is killed. */
  graceMs: number;
}

export interface EnsureOptions {
  /** What the start waits for, in words for a person, such as an image that is being fetched; no oftener than each second. */
  onProgress?(text: string): void;
  /** Aborted when nobody waits any more: what takes long is given up. */
  signal?: AbortSignal | undefined;
}

/** The code with which calls reject while an engine does not answer. */
export const ENGINE_UNREACHABLE = 'engine_unreachable';

export const isEngineUnreachable = (error: unknown): boolean =>
  error instanceof FlotillaError && error.code === ENGINE_UNREACHABLE;

/**
 * Runs workers, at most one per session. All calls are idempotent. A call that cannot tell (the engine does not
 * answer) rejects: unknown is not absent.
 */
export interface WorkerRuntime {
  /**
   * Makes sure that the worker of this epoch was started. One of an older epoch is killed first, and is gone
   * before the new one runs. One of this epoch is left as it is, also if it has ended.
   * @throws FlotillaError `newer_worker` when there is one of a newer epoch
   */
  ensure(spec: WorkerSpec, options?: EnsureOptions): Promise<ObservedWorker>;
  /** Resolves when the worker has ended; at once when there is none. It stays in the list until `remove`. */
  stop(sessionId: string, options: StopOptions): Promise<void>;
  /** Forgets a worker; one that still runs is killed. At once when there is none. */
  remove(sessionId: string): Promise<void>;
  /** All workers, also ended ones that were not removed. */
  list(): Promise<ObservedWorker[]>;
  /** Hints until the signal is aborted. They may be late, doubled or lost. */
  watch(signal: AbortSignal): AsyncIterable<RuntimeHint>;
}

/**
 * A runtime that can start a worker beside the one that it is to follow. It shows as `successor` of that one, and as
 * the worker itself when that one was removed; `remove` takes both away.
 */
export interface SuccessorSource {
  /**
   * Starts the worker of this epoch on `spec.node`; until its epoch has begun it waits by itself. `ensure` of the
   * same epoch makes it the session's worker. One of another epoch is removed first. Resolves when its process runs.
   */
  prepare(spec: WorkerSpec & { node: string }, options?: EnsureOptions): Promise<void>;
  /**
   * From now on the successor of this epoch is what `list` shows as the session's worker, and not the old one, which
   * has ended; `ensure` takes that one away. Said before the epoch begins, so that a session that is connected is
   * always listed where it is. Nothing happens if there is no such successor.
   */
  promote(sessionId: string, epoch: number): Promise<void>;
  /** How the successor of this epoch is; null when there is none. */
  successor(sessionId: string, epoch: number): Promise<ObservedWorker | null>;
  /** Removes the successor of this epoch, or whatever there is; at once when there is none. */
  discard(sessionId: string, epoch?: number): Promise<void>;
}

/** Which successors have arrived where they wait. */
export interface WaitingWorkers {
  /** Holds for a minute. */
  arrived(sessionId: string, epoch: number): Promise<void>;
  has(sessionId: string, epoch: number): Promise<boolean>;
  forget(sessionId: string): Promise<void>;
}

/** A place that workers run on, as its runtime sees it. */
export interface RuntimeNode {
  name: string;
  /** The most workers there; null for no limit of its own. */
  capacity: number | null;
  /** It answers. */
  reachable: boolean;
  /** Its own operators have closed it, beside us. */
  closed?: NodeWish;
  /** By which sessions choose; absent where the runtime follows no constraints. */
  attributes?: NodeAttributes;
}

/**
 * A runtime with more than one place. Its workers carry the node's name, and `ensure` follows `spec.node` if it can.
 * That we have closed a node to new workers is not kept here: it shows in what the runner asks for.
 */
export interface NodeSource {
  /** As of the last `list`; asks nobody. */
  nodes(): RuntimeNode[];
}

/** What a person wants of a node: no new workers, or its sessions elsewhere as well. */
export type NodeWish = 'cordoned' | 'draining';

export interface NodeWishStore {
  all(): Promise<Map<string, NodeWish>>;
  set(node: string, wish: NodeWish | null): Promise<void>;
}

/** A session on its way to another node. Times are ms by the wall clock. */
export interface Move {
  /** The generation that starts on the new node: the next one until its worker was prepared there. */
  generation: number;
  fromNode: string | null;
  /** The node that was asked for; null for any. */
  node: string | null;
  askedAt: number;
  /** When the old worker's connection ended; null while it has not, or if there was none. */
  offlineAt: number | null;
  /** The new worker's; null before its start. */
  epoch: number | null;
  toNode: string | null;
}

export interface MoveStore {
  all(): Promise<Map<string, Move>>;
  find(sessionId: string): Promise<Move | null>;
  /** What was asked for last is what counts. */
  save(sessionId: string, move: Move): Promise<void>;
  /** Null drops it. @returns false, with nothing changed, if it is not the note that was read any more */
  change(sessionId: string, before: Move, after: Move | null): Promise<boolean>;
}

/** A runtime whose workers can run from more than one image. */
export interface ImageSource {
  /** What workers run from unless their spec names another, as configured. */
  readonly image: string;
  /** @throws FlotillaError 400 `invalid_image`, with the rule that the name breaks */
  checkImage(image: string): void;
  /**
   * Makes sure, before any worker is ended for it, that workers can be started from this image wherever they may
   * run. May take as long as a pull.
   * @throws FlotillaError 503 `image_missing` (it is nowhere), `image_unreachable` (it cannot be fetched now)
   */
  prepareImage(image: string, options?: EnsureOptions): Promise<void>;
}

/** A runtime that keeps what its workers print. */
export interface LogSource {
  /** The last lines, oldest first; empty for a session without any. */
  logs(sessionId: string, options: { lines: number }): Promise<string[]>;
}

export interface WorkerStats {
  memoryBytes: number;
  /** Processor time used so far. */
  cpuMs: number;
}

export interface StatsSource {
  /** Null when it does not run. */
  stats(sessionId: string): Promise<WorkerStats | null>;
}

/** A runtime with a life of its own. */
export interface RuntimeLifecycle {
  /** Takes over what an earlier run left behind, or ends it. */
  open(): Promise<void>;
  /** Stops all workers, at the same time. */
  close(options: StopOptions): Promise<void>;
}

/** A worker that an earlier run had when it ended. */
export interface LeftWorker {
  sessionId: string;
  epoch: number;
}

/** A runtime that shows only the workers that this process has started or taken over; others may run beside them. */
export interface OwnWorkersOnly {
  /** Since `open` they are known to be gone. */
  readonly leftBehind: readonly LeftWorker[];
}

/** The right to lead, for a while, over all orchestrators. */
export interface LeaderLease {
  readonly leaseMs: number;
  /** It was taken from another one that had not given it back, or after a loss of data. */
  readonly tookOver: boolean;
  /** The fencing number while the lease holds, by our own clock; null when it does not. */
  readonly fence: number | null;
  /** Takes or renews it. @returns whether it is ours */
  acquire(): Promise<boolean>;
  release(): Promise<void>;
}

/** The part of the allocation that the runner needs. */
export interface FleetBinder {
  allocate(request: {
    sessionId: string;
    phone: string | null;
    profile: string | null;
    pinnedProxy: string | null;
    direct: boolean;
  }): Promise<{ ok: true; binding: FleetBinding } | { ok: false; code: string }>;
  /** @param options.fence of the lead under which this was planned: rejects if another runner leads by now */
  release(
    sessionId: string,
    options: { keepProfile: boolean; holdProfile?: boolean; fence?: number },
  ): Promise<unknown>;
  releaseProfile(sessionId: string, options: { hold: boolean }): Promise<unknown>;
  binding(sessionId: string): Promise<FleetBinding | null>;
  bindings(): Promise<FleetBinding[]>;
  nextProfiles(count: number): Promise<string[]>;
  capacity(): Promise<number>;
  reconcile(): Promise<{ repaired: number }>;
}

export interface FleetBinding {
  sessionId: string;
  proxy: string | null;
  profile: string | null;
}

/** The part of the outbox that the runner needs. */
export interface FleetOutbox {
  /**
   * Fences every older worker.
   * @param fence of the lead under which this was planned: rejects if another runner leads by now
   * @returns the new epoch
   */
  takeOwnership(sessionId: string, fence?: number): Promise<number>;
  /**
   * Makes a successor the owner, which fences every older worker.
   * @param fence as for `takeOwnership`
   * @returns false if this epoch or a later one has begun already
   */
  handOver(sessionId: string, epoch: number, fence?: number): Promise<boolean>;
  /** Takes everything out of a deleted session's queue. */
  clear(sessionId: string, reason: string): Promise<number>;
}
