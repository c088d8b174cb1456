import type { PlannedMove } from '../../domain/fleet-model.ts';
import { hasWorker, isResting, isWanted, type SessionState } from '../../domain/session-state.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { conflict, messageOf, notFound } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { EventLog } from '../events/ports.ts';
import type { FleetSignal, SessionPatch, SessionRecord, SessionStore } from '../sessions/ports.ts';
import { type FleetNodes, type NodeView, nodeIn } from './nodes.ts';
import type { MoveStore } from './ports.ts';

export interface MigrationsDeps {
  nodes: FleetNodes;
  moves: MoveStore;
  store: Pick<SessionStore, 'find' | 'update'>;
  events: EventLog;
  fleet: FleetSignal;
  /** Successors can be prepared while the session goes on. */
  prepares: boolean;
  clock: Clock;
  log: Logger;
}

/** What nobody finished in this time is forgotten. */
const FORGOTTEN_MS = 10 * 60_000;
/** So long a session is left on a draining node that could not leave it. */
const TRIED_AGAIN_MS = 15_000;
const STAYS = 'stays where it is: ';

/**
 * Moves sessions to other nodes. A move is a restart that has a place to go to: the generation goes up, so that
 * the runner stops the old worker, sees it gone, and starts a new one under a new epoch. The binding stays. Where a
 * successor can be prepared on the new node, the generation goes up when it is ready, and not before.
 */
export class Migrations {
  readonly #deps: MigrationsDeps;
  /** When a session could not leave its node, by the monotonic clock. */
  readonly #stayedAt = new Map<string, number>();

  constructor(deps: MigrationsDeps) {
    this.#deps = deps;
  }

  /**
   * As a person asked. To the node where it is: it is restarted there.
   * @throws FlotillaError 404 `unknown_session`, `unknown_node`; 409 `not_running`, `node_closed`, `node_full`,
   *   `node_unreachable`, `session_changed`
   */
  async request(sessionId: string, node: string): Promise<{ fromNode: string | null; toNode: string }> {
    const session = await this.#deps.store.find(sessionId);
    if (!session || session.desired === 'deleted') {
      throw notFound('unknown_session', `There is no session ${sessionId}.`);
    }
    const nodes = await this.#deps.nodes.list();
    const target = nodeIn(nodes, node);
    if (!isWanted(session)) {
      throw conflict('not_running', 'The session does not run: start it, and it gets a node.');
    }
    const from = nodes.find(({ sessions }) => sessions.includes(sessionId));
    if (from?.state === 'unreachable') {
      // Its worker may well be running, and would have to be ended first.
      throw conflict('node_unreachable', `The node ${from.id}, where the session is, does not answer.`);
    }
    await this.#refuseIfClosed(target, sessionId);
    const fromNode = from?.id ?? null;
    const patch = { crashes: 0, notBefore: null };
    if (!(await this.#begin(session, fromNode, node, patch))) {
      throw conflict('session_changed', 'The session was changed at the same moment; try again.');
    }
    return { fromNode, toNode: node };
  }

  /** Off a draining node, wherever there is room. @returns whether anything was changed */
  async leave(sessionId: string, fromNode: string): Promise<boolean> {
    const { store, clock } = this.#deps;
    const stayedAt = this.#stayedAt.get(sessionId);
    if (stayedAt !== undefined && clock.monotonicMs() - stayedAt < TRIED_AGAIN_MS) return false;
    const session = await store.find(sessionId);
    return session !== null && isWanted(session) && (await this.#begin(session, fromNode, null, {}));
  }

  /** When its last move was asked for (ms); null if it has none. */
  async askedAt(sessionId: string): Promise<number | null> {
    return (await this.#deps.moves.find(sessionId))?.askedAt ?? null;
  }

  /** The session stays where it is, and people are told why. Its worker never noticed. */
  async calledOff(sessionId: string, generation: number, reason: string): Promise<void> {
    const { moves, store, events, clock, log } = this.#deps;
    const move = await moves.find(sessionId);
    if (move?.generation !== generation) return;
    if (!(await moves.change(sessionId, move, null))) return;
    this.#stayedAt.set(sessionId, clock.monotonicMs());
    log.warn({ sessionId, reason }, 'a session could not migrate');
    const { fromNode, node } = move;
    await events.record({ type: 'session.migration_failed', sessionId, data: { fromNode, node, reason } });
    const guard = { generation: generation - 1, desired: 'running' as const };
    await store.update(sessionId, { reason: STAYS + reason }, guard, toIso(clock.nowMs()));
  }

  /** The new worker is about to be started. */
  async starting(session: SessionRecord, epoch: number, toNode: string | null): Promise<void> {
    const move = await this.#deps.moves.find(session.id);
    if (move?.generation !== session.generation) return;
    await this.#deps.moves.change(session.id, move, { ...move, epoch, toNode });
  }

  /** A session's state has changed: the end and the return of its connection are noted, and told as one event. */
  async observe(sessionId: string, from: SessionState, to: SessionState): Promise<void> {
    const arrived = to === 'connected' || to === 'pairing';
    if (from !== 'connected' && !arrived && !isResting(to)) return;
    try {
      const { moves, clock } = this.#deps;
      const move = await moves.find(sessionId);
      if (!move) return;
      if (isResting(to)) await moves.change(sessionId, move, null);
      // Before the new worker's start it is the old one that comes and goes.
      else if (move.epoch === null && to === 'connected') {
        await moves.change(sessionId, move, { ...move, offlineAt: null });
      } else if (move.epoch === null && from === 'connected') {
        await moves.change(sessionId, move, { ...move, offlineAt: clock.nowMs() });
      } else if (arrived && move.epoch !== null) await this.#arrived(sessionId, to === 'connected');
    } catch (error) {
      // The move itself goes on; only its report may be missing.
      this.#deps.log.warn({ sessionId, error: messageOf(error) }, 'a migration could not be noted');
    }
  }

  /** For the plan; what is too old is dropped. */
  async forPlan(): Promise<Map<string, PlannedMove>> {
    const { moves, clock } = this.#deps;
    const now = clock.nowMs();
    const planned = new Map<string, PlannedMove>();
    for (const [sessionId, move] of await moves.all()) {
      const { generation, node, askedAt } = move;
      if (now - askedAt > FORGOTTEN_MS) await moves.change(sessionId, move, null);
      else planned.set(sessionId, { generation, node, ageMs: now - askedAt });
    }
    return planned;
  }

  async #refuseIfClosed(target: NodeView, sessionId: string): Promise<void> {
    if (target.state === 'unreachable') {
      throw conflict('node_unreachable', `The node ${target.id} does not answer.`);
    }
    if (target.closed) throw conflict('node_closed', `The node ${target.id} is ${target.state}.`);
    if (target.capacity === null) return;
    const coming = [...(await this.#deps.moves.all())].filter(([, move]) => move.node === target.id);
    const taken = new Set([...target.sessions, ...coming.map(([id]) => id)]);
    taken.delete(sessionId);
    if (taken.size >= target.capacity) {
      throw conflict('node_full', `The node ${target.id} has no room for another worker.`);
    }
  }

  /** The move first: a generation without its move would be a mere restart, a move without its generation nothing. */
  async #begin(
    session: SessionRecord,
    fromNode: string | null,
    node: string | null,
    patch: SessionPatch,
  ): Promise<boolean> {
    const { moves, store, events, fleet, clock } = this.#deps;
    const askedAt = clock.nowMs();
    const generation = session.generation + 1;
    const fresh = { generation, fromNode, node, askedAt, offlineAt: null, epoch: null, toNode: null };
    await moves.save(session.id, fresh);
    const data = { wish: 'migrate', fromNode, node };
    if (this.#isPrepared(session, fromNode, node)) {
      // It was said of the move before this one.
      const old = { generation: session.generation, epoch: session.epoch };
      if (session.reason?.startsWith(STAYS))
        await store.update(session.id, { reason: null }, old, toIso(askedAt));
      await events.record({ type: 'session.wish', sessionId: session.id, data });
      fleet.wake();
      return true;
    }
    const guard = { generation: session.generation, desired: 'running' as const };
    if (!(await store.update(session.id, { ...patch, generation }, guard, toIso(askedAt)))) return false;
    await events.record({ type: 'session.wish', sessionId: session.id, data });
    fleet.wake();
    return true;
  }

  /** Whether the old worker goes on until the new one is ready. On its own node it is simply restarted. */
  #isPrepared({ state }: SessionRecord, fromNode: string | null, node: string | null): boolean {
    return this.#deps.prepares && fromNode !== null && node !== fromNode && hasWorker(state);
  }

  /** @param connected false for one that has to be paired first, and had no connection to lose */
  async #arrived(sessionId: string, connected: boolean): Promise<void> {
    const { moves, events, nodes, clock } = this.#deps;
    const now = clock.nowMs();
    const move = await moves.find(sessionId);
    if (!move) return;
    const toNode =
      move.toNode ?? (await nodes.list()).find(({ sessions }) => sessions.includes(sessionId))?.id ?? null;
    const offlineMs = connected && move.offlineAt !== null ? Math.max(0, now - move.offlineAt) : null;
    const data = { fromNode: move.fromNode, toNode, offlineMs };
    await events.record({ type: 'session.migrated', sessionId, data });
    await moves.change(sessionId, move, null);
  }
}
