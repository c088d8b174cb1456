import { parseProfile } from '../../domain/profile.ts';
import { proxyAddress } from '../../domain/proxy.ts';
import { hasWorker, isResting, type SessionState, whatSessionWaitsFor } from '../../domain/session-state.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import { conflict, invalid, notFound } from '../../kernel/errors.ts';
import type { EventLog } from '../events/ports.ts';
import { refusal, type SessionCreator } from './create-session.ts';
import type { KnownDeletions } from './known-deletions.ts';
import type {
  AlertRaiser,
  CreateSession,
  FleetSignal,
  QrCode,
  QrStore,
  SessionBinder,
  SessionPatch,
  SessionRecord,
  SessionStore,
} from './ports.ts';
import type { SessionStates } from './session-states.ts';
import { type SessionView, viewOf } from './view.ts';
import type { WorkerCommands } from './worker-commands.ts';

export interface SessionServiceDeps {
  store: SessionStore;
  states: SessionStates;
  creator: SessionCreator;
  commands: WorkerCommands;
  binder: SessionBinder;
  qrCodes: QrStore;
  deletions: Pick<KnownDeletions, 'note' | 'isDeleted'>;
  alerts: AlertRaiser;
  events: EventLog;
  fleet: FleetSignal;
  clock: Clock;
}

export interface ListSessions {
  limit: number;
  cursor?: string | undefined;
  state?: SessionState | undefined;
  tenant?: string | undefined;
}

/** A person's wishes about sessions, and what they are. What is wished is written here; the runner makes it so. */
export class SessionService {
  readonly #deps: SessionServiceDeps;

  constructor(deps: SessionServiceDeps) {
    this.#deps = deps;
  }

  async create(request: CreateSession, key: string | null = null): Promise<SessionView> {
    return viewOf(await this.#deps.creator.create(request, key));
  }

  /** @throws FlotillaError 404 `unknown_session` */
  async get(id: string): Promise<SessionView> {
    return viewOf(await this.#find(id));
  }

  /** In the order of creation: sessions that come or go move no other from one page to the next. */
  async list(request: ListSessions): Promise<{ sessions: SessionView[]; nextCursor: string | null }> {
    const rows = await this.#deps.store.page({
      limit: request.limit + 1,
      after: request.cursor === undefined ? null : readCursor(request.cursor),
      state: request.state ?? null,
      tenant: request.tenant ?? null,
    });
    const page = rows.slice(0, request.limit);
    const last = page.at(-1);
    const nextCursor = rows.length > page.length && last ? writeCursor(last) : null;
    return { sessions: page.map(viewOf), nextCursor };
  }

  /** Starts what rests; what runs already only has its back-off forgotten. */
  async start(id: string): Promise<SessionView> {
    const session = await this.#find(id);
    const startsAnew = session.desired !== 'running' || isResting(session.state);
    if (startsAnew) {
      await this.#deps.creator.refuseIfFull();
      await this.#bind(session);
    }
    return await this.#run(session, startsAnew ? 'started' : 'nudged', {});
  }

  /** Replaces the worker. */
  async restart(id: string): Promise<SessionView> {
    const session = await this.#find(id);
    if (session.desired !== 'running' || isResting(session.state)) {
      await this.#deps.creator.refuseIfFull();
      await this.#bind(session);
    }
    return await this.#run(session, 'restarted', { generation: session.generation + 1 });
  }

  /** Moves a session to another proxy: the worker goes, the binding is released, and both are made anew. */
  async rebind(id: string): Promise<void> {
    const session = await this.#find(id);
    const patch = { proxy: null, generation: session.generation + 1 };
    await this.#deps.store.update(id, patch, {}, this.#now());
    await this.#deps.events.record({ type: 'session.rebind', sessionId: id, data: {} });
    this.#deps.fleet.wake();
  }

  /** The worker is stopped and the proxy given back; profile and pairing are kept. */
  async stop(id: string): Promise<SessionView> {
    const session = await this.#find(id);
    await this.#deps.store.update(id, { desired: 'stopped' }, {}, this.#now());
    if (isResting(session.state)) await this.#deps.states.enter(id, 'stopped');
    await this.#wish(id, 'stopped');
    return await this.get(id);
  }

  /** Everything goes: worker, binding, pairing, queue. @param logout unlinks the device too, if it can be reached */
  async delete(id: string, { logout }: { logout: boolean }): Promise<void> {
    const session = await this.#find(id);
    const unlink = logout && hasWorker(session.state);
    await this.#deps.store.update(id, { desired: 'deleted', logout: unlink }, {}, this.#now());
    this.#deps.deletions.note(id);
    await this.#deps.qrCodes.clear(id);
    await this.#wish(id, 'deleted');
  }

  /** Unlinks the device. @throws FlotillaError 409 `not_connected`, 503 `worker_not_answering` */
  async logout(id: string, signal: AbortSignal): Promise<SessionView> {
    const session = await this.#find(id);
    if (session.state === 'logged_out') return viewOf(session);
    if (session.state !== 'connected') {
      throw conflict(
        'not_connected',
        'Only a connected session can unlink its device; start it, or delete it.',
      );
    }
    await this.#deps.commands.logout(id, signal);
    return await this.get(id);
  }

  /** @throws FlotillaError 404 `no_qr` when there is nothing to scan (paired already, or not asked yet) */
  async qr(id: string): Promise<QrCode> {
    const session = await this.#find(id);
    const code = session.state === 'pairing' ? await this.#deps.qrCodes.find(id) : null;
    if (!code || code.expiresAt <= this.#deps.clock.nowMs()) {
      const why = session.state === 'connected' ? 'The session is paired' : `The session is ${session.state}`;
      throw notFound('no_qr', `${why}; there is no QR code to scan.`);
    }
    return code;
  }

  /** @throws FlotillaError 409 `not_pairing`, 503 `worker_not_answering` */
  async pairingCode(id: string, phone: string, signal: AbortSignal): Promise<string> {
    const session = await this.#find(id);
    if (session.phone !== null && session.phone !== phone) {
      throw conflict('phone_mismatch', 'The session belongs to another phone.');
    }
    if (session.state !== 'pairing') {
      throw conflict(
        'not_pairing',
        `A pairing code needs a session that is pairing; this one is ${session.state}.`,
      );
    }
    return await this.#deps.commands.pairingCode(id, phone, signal);
  }

  /** Those that can send now. */
  async connected(filter: {
    tenant?: string;
    ids?: string[];
  }): Promise<{ id: string; phone: string | null; tenant: string | null }[]> {
    const rows = await this.#deps.store.connected(filter);
    return rows.map(({ id, phone, tenant }) => ({ id, phone, tenant }));
  }

  counts(): Promise<{ total: number; connected: number }> {
    return this.#deps.store.counts();
  }

  /** Known as deleted: false for one that never was, and for up to 5 s after a deletion elsewhere. */
  isDeleted(id: string): Promise<boolean> {
    return this.#deps.deletions.isDeleted(id);
  }

  /** What a message of this session waits for, to follow its id in a sentence; null when it can send. */
  async describe(id: string): Promise<string | null> {
    const session = await this.#deps.store.find(id);
    if (!session) return 'does not exist';
    return whatSessionWaitsFor(session.state, session.desired, session.reason);
  }

  /** @returns whether the state was changed; false if the table does not allow it */
  async transition(id: string, to: SessionState, facts: { reason?: string } = {}): Promise<boolean> {
    return (await this.#deps.states.enter(id, to, facts)) !== null;
  }

  async #find(id: string): Promise<SessionRecord> {
    const session = await this.#deps.store.find(id);
    if (!session || session.desired === 'deleted') {
      throw notFound('unknown_session', `There is no session ${id}.`);
    }
    return session;
  }

  async #run(session: SessionRecord, wish: string, patch: SessionPatch): Promise<SessionView> {
    const { store, states } = this.#deps;
    const fresh: SessionPatch = { desired: 'running', crashes: 0, notBefore: null, logout: false, ...patch };
    await store.update(session.id, fresh, {}, this.#now());
    if (isResting(session.state)) await states.enter(session.id, 'pending', { reason: null });
    await this.#wish(session.id, wish);
    return await this.get(session.id);
  }

  /** A refusal is told to the person who asked; otherwise the session would wait with nobody knowing why. */
  async #bind(session: SessionRecord): Promise<void> {
    const { binder, store, alerts } = this.#deps;
    const parsed = session.profile === null ? null : parseProfile(session.profile);
    const result = await binder.allocate({
      sessionId: session.id,
      phone: session.phone,
      profile: session.profile,
      pinnedProxy: parsed?.ok ? parsed.profile.proxy : null,
      direct: session.direct,
    });
    if (!result.ok) {
      const code = result.code === 'profile_in_use' ? 'no_profile_available' : result.code;
      if (code === 'no_proxy_available') await alerts.raise(code, 'No free proxy: a start was refused.');
      throw refusal(code);
    }
    const proxy = result.binding.proxy === null ? null : proxyAddress(result.binding.proxy);
    await store.update(session.id, { proxy }, {}, this.#now());
  }

  async #wish(sessionId: string, wish: string): Promise<void> {
    await this.#deps.events.record({ type: 'session.wish', sessionId, data: { wish } });
    this.#deps.fleet.wake();
  }

  #now(): string {
    return toIso(this.#deps.clock.nowMs());
  }
}

const writeCursor = ({ createdAt, id }: SessionRecord): string =>
  Buffer.from(JSON.stringify([createdAt, id])).toString('base64url');

function readCursor(cursor: string): { createdAt: string; id: string } {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Array.isArray(parsed) && typeof parsed[0] === 'string' && typeof parsed[1] === 'string') {
      return { createdAt: parsed[0], id: parsed[1] };
    }
  } catch {
    // Not a cursor of ours: said below.
  }
  throw invalid('invalid_cursor', 'cursor: is not one that a list gave out');
}
