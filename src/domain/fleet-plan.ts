import { leaving } from './drain.ts';
import type { FleetAction, FleetFacts, FleetPolicy, PlannedSession, PlannedWorker } from './fleet-model.ts';
import { NodeBook, onePlace, type Places } from './placement.ts';
import { provisioning } from './provisioning-plan.ts';
import { hasWorker, isWanted } from './session-state.ts';
import { succession } from './succession.ts';
import { isUnknownReason, unknownReason } from './unknown-worker.ts';
import { judgeExit, type WorkerExit } from './worker-exit.ts';

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
    actions.push(...explanation(session, worker));
    // Its worker may be running or have ended: nothing is concluded from what nobody sees.
    if (worker?.unknown !== undefined) continue;
    if (worker?.state === 'exited') actions.push(...forExited(session, worker, facts, policy));
    else if (worker) actions.push(...forRunning(session, worker, facts, policy, places));
    else actions.push(...forAbsent(session, facts, policy, nowMs, places));
  }
  if (places instanceof NodeBook && facts.placement) {
    const options = { atOnce: policy.movesAtOnce, room: places.room, busy: facts.busy };
    const gone = leaving(sessions, bySession, facts.placement, options);
    actions.push(...gone.map((each) => ({ type: 'move' as const, ...each })));
  }
  const known = new Set(sessions.map(({ id }) => id));
  for (const { sessionId, state, unknown } of workers) {
    if (known.has(sessionId) || facts.busy.has(sessionId) || unknown !== undefined) continue;
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

export const NO_PLACE = 'no node takes another worker: each is full, closed, or does not answer';

/** The reason says so while nothing is known of the worker, and no longer. */
function explanation(session: PlannedSession, worker: PlannedWorker | undefined): FleetAction[] {
  const { id: sessionId, reason = null } = session;
  if (worker?.unknown !== undefined) {
    const now = unknownReason(worker.unknown);
    return now === reason ? [] : [{ type: 'explain', sessionId, reason: now }];
  }
  return isUnknownReason(reason) ? [{ type: 'explain', sessionId, reason: null }] : [];
}

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

/** Whether a worker that the runtime does not show may run all the same, for another orchestrator. */
function mayRunElsewhere(session: PlannedSession, facts: FleetFacts, policy: FleetPolicy): boolean {
  if (facts.deafForMs === undefined || !hasWorker(session.state)) return false;
  const age = facts.beatAgeMs.get(session.id);
  return age === undefined ? facts.observingForMs < facts.deafForMs : age <= policy.cutOffMs;
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

/** Its state still tells of a worker that there is not. */
function gone({ id: sessionId, state }: PlannedSession): FleetAction[] {
  return hasWorker(state)
    ? [{ type: 'settle', sessionId, state: 'pending', reason: 'the worker is gone' }]
    : [];
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
  const about = { sessionId: session.id, crashes: judged.crashes, reason, silent };
  if (judged.verdict === 'fail') return { type: 'fail', ...about };
  const { delayMs, blameless } = judged;
  return { type: 'restart', ...about, delayMs, ...(blameless ? { blameless } : {}) };
}

function forRunning(
  session: PlannedSession,
  worker: PlannedWorker,
  facts: FleetFacts,
  policy: FleetPolicy,
  places: Places,
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
  // One that was given up as gone (by a runner that could not see it) reports nothing more that would bring its
  // session out of `pending`.
  if (isOutdated(session, worker) || !facts.bindings.has(sessionId) || !hasWorker(session.state)) {
    // Gone as soon as it has ended: another look at it would only be time without a connection.
    return [{ type: 'stop', sessionId, cause: 'outdated' }, ...gone(session)];
  }
  const beatAge = facts.beatAgeMs.get(sessionId);
  const allowed = beatAge === undefined ? policy.startGraceMs : policy.silenceMs;
  const silentMs = Math.min(beatAge ?? worker.ranMs, worker.ranMs, facts.observingForMs);
  if (silentMs <= allowed) {
    return succession(session, worker, facts.placement?.moves.get(sessionId), places);
  }
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
  // Its orchestrator ends it if it is not wanted there, and forgets its signs of life when it has ended.
  if (mayRunElsewhere(session, facts, policy)) return [];
  const bound = facts.bindings.has(sessionId);
  const silent = isSilent(sessionId, facts, policy);
  if (!isWanted(session)) {
    const release: FleetAction[] =
      bound && silent ? [{ type: 'release', sessionId, keepProfile: session.desired !== 'deleted' }] : [];
    if (session.desired === 'deleted') return silent ? [...release, { type: 'erase', sessionId }] : [];
    if (session.desired === 'stopped' && session.state !== 'stopped') {
      return [{ type: 'settle', sessionId, state: 'stopped', reason: null }, ...release];
    }
    return release;
  }
  if (hasWorker(session.state)) return gone(session);
  if (session.notBeforeMs !== null && isAhead(session.notBeforeMs, nowMs, policy)) return [];
  if (!bound) return [{ type: 'allocate', sessionId }];
  const bindAnew = !session.hasProxy && !session.direct && facts.bindings.get(sessionId) === true;
  if (bindAnew) return silent ? [{ type: 'release', sessionId, keepProfile: true }] : [];
  const place = places.take(session);
  if (place === 'wait') return [];
  if (place === 'full') return [{ type: 'hold', sessionId, reason: NO_PLACE }];
  return [{ type: 'start', sessionId, ...(place.node === null ? {} : { node: place.node }) }];
}

/** When the first of the sessions that wait until some time is to be started; null if none does. */
export function nextStartMs(
  sessions: readonly PlannedSession[],
  policy: FleetPolicy,
  nowMs: number,
): number | null {
  const times = sessions.flatMap((session) =>
    isWanted(session) && session.notBeforeMs !== null && isAhead(session.notBeforeMs, nowMs, policy)
      ? [session.notBeforeMs]
      : [],
  );
  return times.length === 0 ? null : Math.min(...times);
}

/** A time further away than any back-off comes from another clock. */
const isAhead = (timeMs: number, nowMs: number, policy: FleetPolicy): boolean =>
  timeMs > nowMs && timeMs - nowMs <= policy.crash.backoff.maxMs;
