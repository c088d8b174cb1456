import { type SessionState, statesBefore } from '../../domain/session-state.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { Logger } from '../../kernel/log.ts';
import { announce } from '../events/event-log.ts';
import type { EventSignal } from '../events/ports.ts';
import type { FleetSignal, SessionGuard, SessionPatch, SessionStore } from './ports.ts';

export interface TransitionFacts {
  reason?: string | null;
  patch?: SessionPatch;
  guard?: SessionGuard;
  /** Fewer states than the table allows. */
  from?: readonly SessionState[];
}

export interface SessionStatesDeps {
  store: Pick<SessionStore, 'transition'>;
  signal: EventSignal;
  fleet: FleetSignal;
  /** Told of each change; never rejects. */
  onChange?: (sessionId: string, from: SessionState, to: SessionState) => Promise<void>;
  /** A session can send from now on. */
  onConnected?: () => void;
  clock: Clock;
  log: Logger;
}

/** The one way to change a session's observed state: by the table, with its event, and the runner is told. */
export class SessionStates {
  readonly #deps: SessionStatesDeps;

  constructor(deps: SessionStatesDeps) {
    this.#deps = deps;
  }

  /** @returns the state that was left; null if the table, or a guard, does not allow the change */
  async enter(
    sessionId: string,
    to: SessionState,
    facts: TransitionFacts = {},
  ): Promise<SessionState | null> {
    const { store, signal, fleet, clock, log } = this.#deps;
    const allowed = statesBefore(to);
    const reason = facts.reason ?? null;
    const from = await store.transition(
      sessionId,
      {
        from: facts.from ? allowed.filter((state) => facts.from?.includes(state)) : allowed,
        to,
        reason,
        ...(facts.patch ? { patch: facts.patch } : {}),
        ...(facts.guard ? { guard: facts.guard } : {}),
      },
      (left) => ({ type: 'session.state', sessionId, data: { from: left, to, reason } }),
      toIso(clock.nowMs()),
    );
    if (from === null) return null;
    log.info({ sessionId, from, to, ...(reason ? { reason } : {}) }, 'session state');
    await this.#deps.onChange?.(sessionId, from, to);
    await announce(signal, log);
    fleet.wake();
    if (to === 'connected') this.#deps.onConnected?.();
    return from;
  }
}
