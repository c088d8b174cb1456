import type { EventLog } from '../events/ports.ts';
import type { DeletedSessions, Heartbeats, QrStore, SessionStore, WorkerMailbox } from '../sessions/ports.ts';
import type { FleetBinder, FleetOutbox } from './ports.ts';

export interface ErasureDeps {
  store: SessionStore;
  outbox: FleetOutbox;
  binder: FleetBinder;
  qrCodes: QrStore;
  mailbox: WorkerMailbox;
  heartbeats: Heartbeats;
  events: EventLog;
  deleted: DeletedSessions;
  eraseAuth(sessionId: string): Promise<void>;
  /** What a runtime keeps of a session beyond its worker, such as logs. */
  eraseTraces(sessionId: string): Promise<void>;
}

/**
 * Takes away all that is left of a session that a person has deleted, when its worker is gone. The row goes last:
 * until then every step is done again after a crash.
 * @param lead fencing number under which it was planned
 * @returns false, with nothing done, if nobody wants it deleted
 */
export async function eraseSession(
  deps: ErasureDeps,
  sessionId: string,
  lead: number | undefined,
): Promise<boolean> {
  const { store, outbox, binder, qrCodes, mailbox, heartbeats, events } = deps;
  const session = await store.find(sessionId);
  if (session?.desired !== 'deleted') return false;
  // Fences a worker that nobody sees any more, whatever it still wants to write.
  await outbox.takeOwnership(sessionId, lead);
  await outbox.clear(sessionId, 'session_deleted');
  await binder.releaseProfile(sessionId, { hold: true });
  await deps.eraseAuth(sessionId);
  await Promise.all([qrCodes.clear(sessionId), mailbox.clear(sessionId), heartbeats.forget(sessionId)]);
  await deps.eraseTraces(sessionId);
  await deps.deleted.add(sessionId);
  await store.erase(sessionId);
  await events.record({ type: 'session.deleted', sessionId, data: {} });
  return true;
}
