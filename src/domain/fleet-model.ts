import type { NodeAttributes } from './node-attributes.ts';
import type { DesiredState, SessionState } from './session-state.ts';
import type { CrashPolicy, WorkerExit } from './worker-exit.ts';

/** A session as the plan sees it. */
export interface PlannedSession {
  id: string;
  desired: DesiredState;
  state: SessionState;
  generation: number;
  /** Epoch of the last start; 0 before the first. */
  epoch: number;
  crashes: number;
  /** Not to be started before this time (ms); null for at once. */
  notBeforeMs: number | null;
  /** The device is to be unlinked before the worker goes. */
  logout: boolean;
  direct: boolean;
  /** The row names a proxy. A bound session whose row names none is to be bound anew. */
  hasProxy: boolean;
  reason?: string | null;
}

/** A worker as its runtime reports it. */
export interface PlannedWorker {
  sessionId: string;
  epoch: number;
  generation: number;
  state: 'running' | 'exited';
  /** Since its start; for an exited one: how long it ran. */
  ranMs: number;
  exit: WorkerExit | null;
  /** Where it runs; null where there is one place only. */
  node?: string | null;
  /** Epoch of one that was prepared to follow it, and waits for its turn. */
  successor?: number;
  /** Why nothing is known of it now, as a sentence; all the rest is then as of the last look that told something. */
  unknown?: string;
}

/** A place that workers run on, as the plan sees it. */
export interface PlacementNode {
  name: string;
  /** The most workers there. */
  capacity: number;
  /** It answers, and nobody has closed it to new workers. */
  open: boolean;
  /** It answers, and its sessions are to go elsewhere. */
  draining: boolean;
  /** Absent where the runtime tells none: constraints are then not heeded. */
  attributes?: NodeAttributes | undefined;
}

/** What a session asks of its place. */
export interface PlacementWish {
  /** Which nodes it may run on, in Swarm's words. */
  constraints: readonly string[];
  /** The sessions of a group are spread over the nodes, or first over the values of an attribute of theirs. */
  spread: { group: string; over?: string | undefined } | null;
}

/** A session on its way to another node. */
export interface PlannedMove {
  /** The generation that starts on the new node: the session's, or the next one while a successor is prepared. */
  generation: number;
  /** The node that was asked for; null for any. */
  node: string | null;
  /** Since it was asked for. */
  ageMs: number;
}

export interface PlacementFacts {
  nodes: readonly PlacementNode[];
  moves: ReadonlyMap<string, PlannedMove>;
  /** Session id → its proxy, whose sessions are spread over the nodes. */
  proxies: ReadonlyMap<string, string>;
  /** Session id → what it asks for, of those that ask for something. */
  wishes: ReadonlyMap<string, PlacementWish>;
  /** Session id → node, of starts that go on. */
  startsUnderWay: ReadonlyMap<string, string>;
}

export interface FleetFacts {
  /** Session id → whether the binding holds a proxy. */
  bindings: ReadonlyMap<string, boolean>;
  /** Milliseconds since the last sign of life; absent where there was none since the worker was removed. */
  beatAgeMs: ReadonlyMap<string, number>;
  /** For how long signs of life have been seen without a gap. Silence before that proves nothing. */
  observingForMs: number;
  /**
   * The runtime shows our own workers only, and others may run for other orchestrators. For so long nobody has
   * listened to their signs of life before us; 0 if we know since when they are silent. Absent where it shows all.
   */
  deafForMs?: number | undefined;
  /** Sessions with an action still going on: nothing is planned for them. */
  busy: ReadonlySet<string>;
  /** Starts still going on. */
  startsUnderWay: number;
  /** Why binding was refused lately, by session. */
  refusals: ReadonlyMap<string, string>;
  /** For how long the unlinking of a device has been asked for. */
  unlinkingForMs: ReadonlyMap<string, number>;
  /** For how long bindings have been there without their session. */
  orphanForMs: ReadonlyMap<string, number>;
  /** Free profiles that may be provisioned now. */
  freeProfiles: number;
  /** How many more sessions the proxies carry. */
  freeProxySlots: number;
  /** Absent where there is one place only. */
  placement?: PlacementFacts | undefined;
  /** From 0 (inclusive) to 1 (exclusive), for the jitter of back-offs. */
  random(): number;
}

export interface FleetPolicy {
  /** On each node. */
  startsAtOnce: number;
  /** Sessions that leave draining nodes at the same time. */
  movesAtOnce: number;
  /** After this a worker without a sign of life no longer counts as starting. */
  startingMs: number;
  silenceMs: number;
  /** A worker that was not heard of for so long has cut itself off, wherever it runs. */
  cutOffMs: number;
  startGraceMs: number;
  unlinkMs: number;
  orphanGraceMs: number;
  maxSessions: number;
  autoProvision: boolean;
  provisionAtOnce: number;
  crash: CrashPolicy;
}

export const DEFAULT_FLEET_POLICY: FleetPolicy = {
  startsAtOnce: 4,
  movesAtOnce: 2,
  startingMs: 15_000,
  silenceMs: 30_000,
  // 10 s after its last answer, which may have come up to a ping (5 s) later than its last sign of life.
  cutOffMs: 17_000,
  startGraceMs: 60_000,
  unlinkMs: 25_000,
  orphanGraceMs: 60_000,
  maxSessions: 100,
  autoProvision: true,
  provisionAtOnce: 50,
  crash: { quickMs: 60_000, maxQuick: 3, backoff: { firstMs: 1000, maxMs: 60_000, jitter: 0.5 } },
};

export type StopCause = 'unwanted' | 'outdated' | 'silent';

export type FleetAction =
  | { type: 'allocate'; sessionId: string }
  | { type: 'start'; sessionId: string; node?: string }
  /** There is no place for it now. */
  | { type: 'hold'; sessionId: string; reason: string }
  /** What a person is to know beside its state; null for nothing any more. */
  | { type: 'explain'; sessionId: string; reason: string | null }
  /** A successor is prepared on the node, and takes over when it is ready. */
  | { type: 'replace'; sessionId: string; node: string }
  /** The move is called off: the session stays where it is. */
  | { type: 'stay'; sessionId: string; reason: string }
  /** A successor that nobody waits for goes. */
  | { type: 'discard'; sessionId: string }
  /** It leaves a draining node. */
  | { type: 'move'; sessionId: string; fromNode: string }
  /** Stop and remove the worker. */
  | { type: 'stop'; sessionId: string; cause: StopCause }
  /** Forget a worker that has ended. */
  | { type: 'remove'; sessionId: string }
  | { type: 'unlink'; sessionId: string }
  | { type: 'release'; sessionId: string; keepProfile: boolean }
  | {
      type: 'restart';
      sessionId: string;
      crashes: number;
      delayMs: number;
      reason: string;
      silent: boolean;
      blameless?: true;
    }
  | { type: 'fail'; sessionId: string; crashes: number; reason: string; silent: boolean }
  /** The state follows what was observed. */
  | { type: 'settle'; sessionId: string; state: 'pending' | 'stopped' | 'logged_out'; reason: string | null }
  /** The last trace of a deleted session goes. */
  | { type: 'erase'; sessionId: string }
  | { type: 'provision'; count: number }
  | { type: 'alert'; condition: AlertCondition; message: string }
  | { type: 'clearAlert'; condition: AlertCondition };

export type AlertCondition = 'no_proxy_available' | 'no_profile_available';
