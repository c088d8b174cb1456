import type { DesiredState, SessionState } from '../../domain/session-state.ts';
import type { NewEvent } from '../events/ports.ts';

export interface Resources {
  /** Processors, such as `0.5`. */
  cpu?: string | undefined;
  /** Such as `512m` or `2g`. */
  memory?: string | undefined;
  /** Which nodes it may run on, in Swarm's words, such as `node.labels.region==eu`. */
  constraints?: string[] | undefined;
  /**
   * The sessions of a group are kept apart: on as many nodes as there are, or first on as many values of an attribute
   * of theirs, such as `node.labels.zone`.
   */
  spread?: { group: string; over?: string | undefined } | undefined;
}

/** A session as stored. Times are ISO 8601. */
export interface SessionRecord {
  id: string;
  phone: string | null;
  /** The profile line as uploaded. */
  profile: string | null;
  tenant: string | null;
  provider: string;
  webhookUrl: string | null;
  resources: Resources | null;
  desired: DesiredState;
  generation: number;
  state: SessionState;
  reason: string | null;
  /** host:port of the proxy that it is bound to. */
  proxy: string | null;
  direct: boolean;
  jid: string | null;
  epoch: number;
  crashes: number;
  notBefore: string | null;
  logout: boolean;
  /** What an upgrade wants its worker to be started from; null for what the fleet runs from. */
  image: string | null;
  /** What its worker was started from last; null before the first start, and where images mean nothing. */
  workerImage: string | null;
  /** How often a worker of it ended, or fell silent, although nobody had asked for that. */
  unwantedEnds: number;
  createdAt: string;
  updatedAt: string;
  connectedAt: string | null;
}

/** The fields that change without a change of state. */
export type SessionPatch = Partial<
  Pick<
    SessionRecord,
    | 'phone'
    | 'desired'
    | 'generation'
    | 'reason'
    | 'proxy'
    | 'jid'
    | 'epoch'
    | 'crashes'
    | 'notBefore'
    | 'logout'
    | 'workerImage'
    | 'unwantedEnds'
    | 'connectedAt'
  >
>;

/** A row is changed only if it still is as the caller saw it. */
export interface SessionGuard {
  desired?: DesiredState;
  generation?: number;
  /** Exactly this epoch. */
  epoch?: number;
  /** Any epoch below this one. */
  epochBelow?: number;
}

export interface StateChange {
  from: readonly SessionState[];
  to: SessionState;
  reason: string | null;
  patch?: SessionPatch;
  guard?: SessionGuard;
}

export interface SessionPage {
  limit: number;
  /** Comes after this one in (createdAt, id). */
  after: { createdAt: string; id: string } | null;
  state: SessionState | null;
  tenant: string | null;
}

/** What a person asks for; null is as good as nothing. */
export interface CreateSession {
  phone: string;
  tenant?: string | null | undefined;
  /** A profile line or its id; without it a fitting free one is taken, or none. */
  profile?: string | null | undefined;
  provider?: string | null | undefined;
  webhookUrl?: string | null | undefined;
  resources?: Resources | null | undefined;
  /** `false` asks for a session without a proxy. */
  proxy?: false | null | undefined;
}

/** What makes the request for a session repeatable: its key, and a SHA-256 of what was asked for. */
export interface RepeatableRequest {
  key: string;
  digest: string;
}

export interface SessionStore {
  /**
   * `profile_taken`: another session that is not deleted has the profile. `full`: with this one, more than
   * `maxWanted` sessions would run or be about to. `key_taken`: a session was made by a request with this key, or is
   * being made. In these cases nothing was stored.
   */
  insert(
    session: SessionRecord,
    maxWanted: number,
    request?: RepeatableRequest | null,
  ): Promise<'inserted' | 'profile_taken' | 'full' | 'key_taken'>;
  /** The session that a request with this key has made, for as long as it is there, also while it is being deleted. */
  findByKey(key: string): Promise<{ session: SessionRecord; digest: string } | null>;
  find(id: string): Promise<SessionRecord | null>;
  /** Ids of sessions that a person wants gone, and that are still there. */
  beingDeleted(): Promise<string[]>;
  /** In the order of their creation, without deleted ones. */
  page(page: SessionPage): Promise<SessionRecord[]>;
  /** All rows, also deleted ones that are not erased yet, in the order of their creation. */
  all(): Promise<SessionRecord[]>;
  connected(filter: {
    tenant?: string | undefined;
    ids?: readonly string[] | undefined;
  }): Promise<SessionRecord[]>;
  /** Sessions that run or are about to. */
  countWanted(): Promise<number>;
  counts(): Promise<{ total: number; connected: number }>;
  /** @returns whether a row was changed */
  update(id: string, patch: SessionPatch, guard: SessionGuard, at: string): Promise<boolean>;
  /**
   * Changes the state and records it, in one transaction.
   * @param event made from the state that was left
   * @returns that state, or null if nothing was changed
   */
  transition(
    id: string,
    change: StateChange,
    event: (from: SessionState) => NewEvent,
    at: string,
  ): Promise<SessionState | null>;
  /** Removes the row. */
  erase(id: string): Promise<void>;
}

export interface QrCode {
  qr: string;
  /** Milliseconds since the Unix epoch. */
  expiresAt: number;
}

export interface QrStore {
  save(sessionId: string, code: QrCode): Promise<void>;
  find(sessionId: string): Promise<QrCode | null>;
  clear(sessionId: string): Promise<void>;
}

/** The last signs of life of workers. */
export interface Heartbeats {
  /** @returns whether it is the first one since `forget` */
  beat(sessionId: string): Promise<boolean>;
  /** The worker is known to be gone. */
  forget(sessionId: string): Promise<void>;
  /** Milliseconds since the last sign of life of each session, by one clock. */
  ages(): Promise<Map<string, number>>;
}

export interface WorkerCommand {
  id: string;
  type: 'pairing_code' | 'logout';
  /** Of a pairing code. */
  phone?: string | undefined;
}

export interface CommandResult {
  ok: boolean;
  /** Of a pairing code. */
  code?: string | undefined;
  /** Why not. */
  reason?: string | undefined;
}

/** Messages to a worker, fetched with its pings, and its answers. */
export interface WorkerMailbox {
  /** A command with an id that still waits is not added again. */
  post(sessionId: string, command: WorkerCommand): Promise<void>;
  /** Takes out what waits. */
  take(sessionId: string): Promise<WorkerCommand[]>;
  answer(sessionId: string, commandId: string, result: CommandResult): Promise<void>;
  /** @returns null if there was no answer within the time */
  result(
    sessionId: string,
    commandId: string,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<CommandResult | null>;
  clear(sessionId: string): Promise<void>;
}

/** Ids of inbound messages that were recorded: WhatsApp hands the same one over more than once. */
export interface InboundSeen {
  has(sessionId: string, messageId: string): Promise<boolean>;
  add(sessionId: string, messageId: string): Promise<void>;
}

/** Sessions that were there once. An id that never was may belong to a worker that somebody else runs. */
export interface DeletedSessions {
  add(sessionId: string): Promise<void>;
  has(sessionId: string): Promise<boolean>;
  /** Those that were added at this time or later, on the clock of the machine that added them. */
  since(ms: number): Promise<{ sessionId: string; atMs: number }[]>;
}

export interface ProfileDirectory {
  /** The line of a profile that was uploaded, by its line or by its id; null for an unknown one. */
  resolve(lineOrId: string): Promise<string | null>;
}

/** Calls the fleet runner, wherever it leads. */
export interface FleetSignal {
  wake(): void;
}

/** The part of the allocation that sessions need. */
export interface SessionBinder {
  allocate(request: {
    sessionId: string;
    phone: string | null;
    profile: string | null;
    pinnedProxy: string | null;
    direct: boolean;
  }): Promise<
    | { ok: true; binding: { proxy: string | null } }
    | {
        ok: false;
        code: 'phone_cap_reached' | 'no_proxy_available' | 'no_profile_available' | 'profile_in_use';
      }
  >;
  release(sessionId: string, options: { keepProfile: boolean; holdProfile?: boolean }): Promise<unknown>;
  assignPhone(sessionId: string, phone: string): Promise<'assigned' | 'phone_cap_reached' | 'not_bound'>;
  nextProfiles(count: number): Promise<string[]>;
}

export interface AlertRaiser {
  raise(condition: string, message: string): Promise<void>;
  clear(condition: string): Promise<void>;
}

/** What becomes of a sent message: delivered, read. */
export interface ReceiptRecorder {
  recordReceipt(receipt: {
    sessionId: string;
    taskId: string | null;
    whatsappId: string | null;
    status: 'delivered' | 'read';
    /** Milliseconds since the Unix epoch. */
    at: number;
  }): Promise<void>;
}
