import { leaving, NodeBook, onePlace, type PlacementFacts, type Places } from './placement.ts';
import { provisioning } from './provisioning-plan.ts';
import { type DesiredState, hasWorker, isWanted, type SessionState } from './session-state.ts';
import { type CrashPolicy, judgeExit, type WorkerExit } from './worker-exit.ts';

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
}

export interface FleetFacts {
  /** Session id → whether the binding holds a proxy. */
  bindings: ReadonlyMap<string, boolean>;
  /** Milliseconds since the last sign of life; absent where there was none since the worker was removed. */
  beatAgeMs: ReadonlyMap<string, number>;
  /** For how long signs of life have been seen without a gap. Silence before that proves nothing. */
  observingForMs: number;
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
  /** It leaves a draining node. */
  | { type: 'move'; sessionId: string; fromNode: string }
  /** Stop and remove the worker. */
  | { type: 'stop'; sessionId: string; cause: StopCause }
  /** Forget a worker that has ended. */
  | { type: 'remove'; sessionId: string }
  | { type: 'unlink'; sessionId: string }
  | { type: 'release'; sessionId: string; keepProfile: boolean }
  | { type: 'restart'; sessionId: string; crashes: number; delayMs: number; reason: string; silent: boolean }
  | { type: 'fail'; sessionId: string; crashes: number; reason: string; silent: boolean }
  /** The state follows what was observed. */
  | { type: 'settle'; sessionId: string; state: 'pending' | 'stopped' | 'logged_out'; reason: string | null }
  /** The last trace of a deleted session goes. */
  | { type: 'erase'; sessionId: string }
  | { type: 'provision'; count: number }
  | { type: 'alert'; condition: AlertCondition; message: string }
  | { type: 'clearAlert'; condition: AlertCondition };

export type AlertCondition = 'no_proxy_available' | 'no_profile_available';

/**
 * What has to be done so that the fleet becomes what is wanted. Level-triggered: it looks at what is, not at
 * what happened, so a missed event or a crash between two actions costs a pass and nothing else.
 *
 * Only for a complete list of workers: if the runtime could not be asked, there is nothing to plan.
 * @param nowMs wall clock, the one that `notBeforeMs` was written with
 */
export function plan(
  sessions: readonly PlannedSession[],
  workers: readonly PlannedWorker[],
  facts: FleetFacts,
  policy: FleetPolicy,
  nowMs: number,
): FleetAction[] {
  const bySession = new Map(workers.map((worker) => [worker.sessionId, worker]));
  const actions: FleetAction[] = [];
  const places = placesFor(sessions, workers, bySession, facts, policy);
  for (const session of sessions) {
    if (facts.busy.has(session.id)) continue;
    const worker = bySession.get(session.id);
    if (worker?.state === 'exited') actions.push(...forExited(session, worker, facts, policy));
    else if (worker) actions.push(...forRunning(session, worker, facts, policy));
    else actions.push(...forAbsent(session, facts, policy, nowMs, places));
  }
  if (places instanceof NodeBook && facts.placement) {
    const options = { atOnce: policy.movesAtOnce, room: places.room, busy: facts.busy };
    const gone = leaving(sessions, bySession, facts.placement, options);
    actions.push(...gone.map((each) => ({ type: 'move' as const, ...each })));
  }
  const known = new Set(sessions.map(({ id }) => id));
  for (const { sessionId, state } of workers) {
    if (known.has(sessionId) || facts.busy.has(sessionId)) continue;
    actions.push(
      state === 'exited' ? { type: 'remove', sessionId } : { type: 'stop', sessionId, cause: 'unwanted' },
    );
  }
  for (const [sessionId, forMs] of facts.orphanForMs) {
    const gone = !bySession.has(sessionId) && isSilent(sessionId, facts, policy);
    if (gone && forMs >= policy.orphanGraceMs && !facts.busy.has(sessionId)) {
      actions.push({ type: 'release', sessionId, keepProfile: false });
    }
  }
  return [...actions, ...provisioning(sessions, facts, policy)];
}

const NO_PLACE = 'no node takes another worker: each is full, closed, or does not answer';

function placesFor(
  sessions: readonly PlannedSession[],
  workers: readonly PlannedWorker[],
  bySession: ReadonlyMap<string, PlannedWorker>,
  facts: FleetFacts,
  policy: FleetPolicy,
): Places {
  const starting = sessions.filter((session) => {
    const worker = bySession.get(session.id);
    return worker !== undefined && isStarting(session, worker, facts, policy);
  });
  if (!facts.placement) return onePlace(policy.startsAtOnce - facts.startsUnderWay - starting.length);
  const ids = new Set(starting.map(({ id }) => id));
  return new NodeBook(facts.placement, workers, ids, policy.startsAtOnce);
}

const isOutdated = (session: PlannedSession, worker: PlannedWorker): boolean =>
  worker.epoch !== session.epoch || worker.generation !== session.generation;

/** A start that still takes its share of the processor: no sign of life yet, and not given up on. */
function isStarting(
  session: PlannedSession,
  worker: PlannedWorker,
  facts: FleetFacts,
  policy: FleetPolicy,
): boolean {
  if (worker.state !== 'running' || facts.busy.has(session.id)) return false;
  return session.state === 'starting' && worker.ranMs < policy.startingMs && !facts.beatAgeMs.has(session.id);
}

/** No sign of life that could come from a worker which the runtime does not show (another host, say). */
function isSilent(sessionId: string, facts: FleetFacts, policy: FleetPolicy): boolean {
  const age = facts.beatAgeMs.get(sessionId);
  return age === undefined || age > policy.silenceMs;
}

function forExited(
  session: PlannedSession,
  worker: PlannedWorker,
  facts: FleetFacts,
  policy: FleetPolicy,
): FleetAction[] {
  const sessionId = session.id;
  const remove: FleetAction = { type: 'remove', sessionId };
  if (!isWanted(session) || isOutdated(session, worker)) return [remove];
  const exit = worker.exit ?? { code: null, signal: null, cause: 'worker is gone', lastLines: [] };
  return [afterExit(session, exit, worker.ranMs, facts, policy, false), remove];
}

function afterExit(
  session: PlannedSession,
  exit: WorkerExit,
  ranMs: number,
  facts: FleetFacts,
  policy: FleetPolicy,
  silent: boolean,
): FleetAction {
  const judged = judgeExit(exit, ranMs, session.crashes, policy.crash, facts.random());
  const { reason } = judged;
  if (judged.verdict === 'logged_out') {
    return { type: 'settle', sessionId: session.id, state: 'logged_out', reason };
  }
  const { crashes } = judged;
  return judged.verdict === 'fail'
    ? { type: 'fail', sessionId: session.id, crashes, reason, silent }
    : { type: 'restart', sessionId: session.id, crashes, delayMs: judged.delayMs, reason, silent };
}

function forRunning(
  session: PlannedSession,
  worker: PlannedWorker,
  facts: FleetFacts,
  policy: FleetPolicy,
): FleetAction[] {
  const sessionId = session.id;
  if (!isWanted(session)) {
    const unlinking = facts.unlinkingForMs.get(sessionId) ?? 0;
    const reachable = facts.beatAgeMs.has(sessionId) && !isSilent(sessionId, facts, policy);
    return session.logout && reachable && unlinking < policy.unlinkMs
      ? [{ type: 'unlink', sessionId }]
      : [{ type: 'stop', sessionId, cause: 'unwanted' }];
  }
  // Without a binding (Redis lost it) its place on the proxy may be given to another: it has to be bound anew.
  if (isOutdated(session, worker) || !facts.bindings.has(sessionId)) {
    return [{ type: 'stop', sessionId, cause: 'outdated' }];
  }
  const beatAge = facts.beatAgeMs.get(sessionId);
  const allowed = beatAge === undefined ? policy.startGraceMs : policy.silenceMs;
  const silentMs = Math.min(beatAge ?? worker.ranMs, worker.ranMs, facts.observingForMs);
  if (silentMs <= allowed) return [];
  const cause = `no sign of life for ${Math.round(silentMs / 1000)} s`;
  const exit: WorkerExit = { code: null, signal: null, cause, lastLines: [] };
  return [
    // The time in which it was silent is not time that it ran well.
    afterExit(session, exit, worker.ranMs - silentMs, facts, policy, true),
    { type: 'stop', sessionId, cause: 'silent' },
  ];
}

function forAbsent(
  session: PlannedSession,
  facts: FleetFacts,
  policy: FleetPolicy,
  nowMs: number,
  places: Places,
): FleetAction[] {
  const sessionId = session.id;
  const bound = facts.bindings.has(sessionId);
  const gone = isSilent(sessionId, facts, policy);
  if (!isWanted(session)) {
    const release: FleetAction[] =
      bound && gone ? [{ type: 'release', sessionId, keepProfile: session.desired !== 'deleted' }] : [];
    if (session.desired === 'deleted') return gone ? [...release, { type: 'erase', sessionId }] : [];
    if (session.desired === 'stopped' && session.state !== 'stopped') {
      return [{ type: 'settle', sessionId, state: 'stopped', reason: null }, ...release];
    }
    return release;
  }
  if (hasWorker(session.state)) {
    return [{ type: 'settle', sessionId, state: 'pending', reason: 'the worker is gone' }];
  }
  if (session.notBeforeMs !== null && isAhead(session.notBeforeMs, nowMs, policy)) return [];
  if (!bound) return [{ type: 'allocate', sessionId }];
  const bindAnew = !session.hasProxy && !session.direct && facts.bindings.get(sessionId) === true;
  if (bindAnew) return gone ? [{ type: 'release', sessionId, keepProfile: true }] : [];
  const place = places.take(session);
  if (place === 'wait') return [];
  if (place === 'full') return [{ type: 'hold', sessionId, reason: NO_PLACE }];
  return [{ type: 'start', sessionId, ...(place.node === null ? {} : { node: place.node }) }];
}

/** A time further away than any back-off comes from another clock. */
const isAhead = (timeMs: number, nowMs: number, policy: FleetPolicy): boolean =>
  timeMs > nowMs && timeMs - nowMs <= policy.crash.backoff.maxMs;
