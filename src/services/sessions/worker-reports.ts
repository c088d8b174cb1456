import { type Clock, toIso } from '../../kernel/clock.ts';
import { conflict, invalid, notFound } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import { maskPhone } from '../../kernel/log.ts';
import type { EventLog } from '../events/ports.ts';
import type {
  CommandResult,
  FleetSignal,
  Heartbeats,
  InboundSeen,
  QrStore,
  ReceiptRecorder,
  SessionBinder,
  SessionGuard,
  SessionPatch,
  SessionRecord,
  SessionStore,
  WorkerCommand,
  WorkerMailbox,
} from './ports.ts';
import type { SessionStates } from './session-states.ts';

/** What a worker reports, parsed. */
export type WorkerReport =
  | { type: 'QR_UPDATE'; qrCode: string; expiresAtMs: number | null }
  | { type: 'CONNECTED'; phone: string; jid: string | null }
  | { type: 'STATUS_CHANGE'; status: 'RECONNECTING' | 'LOGGED_OUT' | 'SHUTTING_DOWN'; reason: string | null }
  | { type: 'PING' }
  | {
      type: 'RECEIPT';
      taskId: string | null;
      whatsappId: string | null;
      status: 'delivered' | 'read';
      atMs: number | null;
    }
  | { type: 'MESSAGE'; id: string | null; data: Record<string, unknown> };

export interface ReportAnswer {
  /** Of a PING. */
  commands: WorkerCommand[];
}

export interface WorkerReportsDeps {
  store: SessionStore;
  states: SessionStates;
  binder: SessionBinder;
  qrCodes: QrStore;
  heartbeats: Heartbeats;
  mailbox: WorkerMailbox;
  inbound: InboundSeen;
  receipts: ReceiptRecorder;
  events: EventLog;
  /** Forgets the credentials of a session, and refuses what its present worker may still write. */
  wipeAuth(sessionId: string): Promise<void>;
  fleet: FleetSignal;
  clock: Clock;
  log: Logger;
}

/** WhatsApp shows the first code for 60 s and the next ones for 20 s; a worker that does not say gets the shorter. */
const QR_LIFETIME_MS = 20_000;
const NOTHING: ReportAnswer = { commands: [] };

/** Takes in what workers say about their sessions. */
export class WorkerReports {
  readonly #deps: WorkerReportsDeps;

  constructor(deps: WorkerReportsDeps) {
    this.#deps = deps;
  }

  /**
   * @param epoch of the worker's token; 0 for a worker without one, which is not fenced
   * @throws FlotillaError 404 `unknown_session`, 409 `stale_epoch`
   */
  async owned(sessionId: string, epoch: number): Promise<SessionRecord> {
    const session = await this.#deps.store.find(sessionId);
    if (!session) throw notFound('unknown_session', `There is no session ${sessionId}.`);
    if (epoch !== 0 && epoch < session.epoch) {
      throw conflict('stale_epoch', 'Another worker owns this session now; stop at once.');
    }
    return session;
  }

  /** @throws FlotillaError as `owned` */
  async take(sessionId: string, epoch: number, report: WorkerReport): Promise<ReportAnswer> {
    const session = await this.#heard(await this.owned(sessionId, epoch), epoch, report);
    if (await this.#deps.heartbeats.beat(sessionId)) this.#deps.fleet.wake();
    switch (report.type) {
      case 'PING':
        return { commands: await this.#deps.mailbox.take(sessionId) };
      case 'QR_UPDATE':
        await this.#qr(session, report.qrCode, report.expiresAtMs);
        return NOTHING;
      case 'CONNECTED':
        await this.#connected(session, report.phone, report.jid);
        return NOTHING;
      case 'STATUS_CHANGE':
        await this.#status(session, report.status, report.reason);
        return NOTHING;
      case 'RECEIPT':
        await this.#receipt(sessionId, report);
        return NOTHING;
      case 'MESSAGE':
        await this.#message(sessionId, report.id, report.data);
        return NOTHING;
    }
  }

  /** A worker without an epoch was not started by the runner: its first report is what says that it runs. */
  async #heard(session: SessionRecord, epoch: number, report: WorkerReport): Promise<SessionRecord> {
    if (epoch > 0 || session.state !== 'pending' || session.desired !== 'running') return session;
    if (report.type !== 'QR_UPDATE' && report.type !== 'CONNECTED') return session;
    await this.#deps.states.enter(session.id, 'starting', { reason: 'a worker of its own reports' });
    return { ...session, state: 'starting' };
  }

  async answerCommand(
    sessionId: string,
    epoch: number,
    commandId: string,
    result: CommandResult,
  ): Promise<void> {
    await this.owned(sessionId, epoch);
    await this.#deps.mailbox.answer(sessionId, commandId, result);
  }

  /** A device that was unlinked: nothing of the pairing is kept, and a person has to start it again. */
  async loggedOut(sessionId: string, reason: string | null): Promise<void> {
    const { states, store, qrCodes, events, wipeAuth, fleet, clock } = this.#deps;
    await wipeAuth(sessionId);
    await qrCodes.clear(sessionId);
    await store.update(sessionId, { logout: false, jid: null }, {}, toIso(clock.nowMs()));
    const left = await states.enter(sessionId, 'logged_out', { reason: reason ?? 'the device was unlinked' });
    if (left === null) {
      await events.record({ type: 'session.unlinked', sessionId, data: { reason } });
      fleet.wake();
    }
  }

  async #qr(session: SessionRecord, qr: string, expiresAtMs: number | null): Promise<void> {
    const { qrCodes, states, events, clock } = this.#deps;
    // A code that comes after the pairing was overtaken by it.
    if (session.state === 'connected') return;
    const expiresAt = expiresAtMs ?? clock.nowMs() + QR_LIFETIME_MS;
    await qrCodes.save(session.id, { qr, expiresAt });
    if (session.state !== 'pairing') await states.enter(session.id, 'pairing', { guard: asOf(session) });
    await events.record({
      type: 'session.qr',
      sessionId: session.id,
      data: { expiresAt: toIso(expiresAt) },
    });
  }

  async #connected(session: SessionRecord, phone: string, jid: string | null): Promise<void> {
    const { binder, states, qrCodes, log, clock } = this.#deps;
    await qrCodes.clear(session.id);
    if (session.phone !== null && session.phone !== phone) {
      await this.#refuse(session, `phone_mismatch: paired with ${maskPhone(phone)}`);
      return;
    }
    const patch: SessionPatch = { jid, connectedAt: toIso(clock.nowMs()) };
    if (session.phone === null) {
      const outcome = await binder.assignPhone(session.id, phone);
      if (outcome === 'phone_cap_reached') {
        await this.#refuse(session, 'phone_cap_reached: the phone has as many sessions as it may have');
        return;
      }
      if (outcome === 'not_bound')
        log.warn({ sessionId: session.id }, 'a session connected without a binding');
      patch.phone = phone;
    }
    const guard = asOf(session);
    if ((await states.enter(session.id, 'connected', { patch, guard })) === null) {
      await this.#deps.store.update(session.id, patch, guard, toIso(clock.nowMs()));
    }
  }

  /** The device is unlinked and the worker goes; only a person can bring it back. */
  async #refuse(session: SessionRecord, reason: string): Promise<void> {
    const facts = { reason, patch: { logout: true }, guard: asOf(session) };
    await this.#deps.states.enter(session.id, 'failed', facts);
  }

  async #status(
    session: SessionRecord,
    status: 'RECONNECTING' | 'LOGGED_OUT' | 'SHUTTING_DOWN',
    reason: string | null,
  ): Promise<void> {
    if (status === 'LOGGED_OUT') {
      await this.loggedOut(session.id, reason);
      return;
    }
    const why = status === 'SHUTTING_DOWN' ? 'the worker is shutting down' : reason;
    await this.#deps.states.enter(session.id, 'reconnecting', {
      reason: why,
      guard: asOf(session),
      // Before the pairing there is no connection that could be lost.
      from: status === 'SHUTTING_DOWN' ? ['connected'] : ['starting', 'pairing', 'connected'],
    });
  }

  async #receipt(sessionId: string, report: WorkerReport & { type: 'RECEIPT' }): Promise<void> {
    const { taskId, whatsappId, status, atMs } = report;
    if (taskId === null && whatsappId === null) {
      throw invalid('invalid_request', 'data: a receipt names a taskId or a whatsappId', {
        details: { field: 'data' },
      });
    }
    const at = atMs ?? this.#deps.clock.nowMs();
    await this.#deps.receipts.recordReceipt({ sessionId, taskId, whatsappId, status, at });
  }

  /** Recorded first and marked second: after a crash in between it is there twice rather than never. */
  async #message(sessionId: string, id: string | null, data: Record<string, unknown>): Promise<void> {
    const { inbound, events } = this.#deps;
    if (id !== null && (await inbound.has(sessionId, id))) return;
    await events.record({ type: 'message.received', sessionId, data });
    if (id !== null) await inbound.add(sessionId, id);
  }
}

/** What was said by a worker whose time was over before it was written down says nothing about the one after it. */
const asOf = ({ epoch }: SessionRecord): SessionGuard => ({ epoch });
