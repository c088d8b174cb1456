import type { Generated } from 'kysely';
import type { FleetImageTable, Iso, UpgradeSessionsTable, UpgradesTable } from './schema-upgrades.ts';

export interface SessionBindingsTable {
  id: Generated<number>;
  bot_id: string;
  phone: string | null;
  proxy_ip: string | null;
  profile_id: string | null;
  /** `active` or `released`. */
  status: string;
  created_at: Iso;
  updated_at: Iso;
}

/** What the active binding of a session holds. */
export interface BindingLinesTable {
  session_id: string;
  /** JSON {proxy, profile}: the lines as uploaded, encrypted. */
  sealed: string;
}

/** Which proxy a phone had last. */
export interface PhoneProxiesTable {
  phone: string;
  /** The line as uploaded, encrypted. */
  sealed: string;
}

/** Outboxes that hand nothing out for a while, because a worker asked for that. */
export interface OutboxDelaysTable {
  session_id: string;
  until: Iso;
}

export interface NodeWishesTable {
  node: string;
  /** `cordoned` or `draining`. */
  wish: string;
}

export interface ProxyMarksTable {
  /** SHA-256 of the line. */
  id: string;
  /** `bad`, `draining`, or `good` for one that was put back into service. */
  mark: string;
  /** JSON {line, error}, encrypted. */
  sealed: string;
}

/** What was done to the pools, in order. */
export interface PoolPiecesTable {
  id: Generated<number>;
  upload_id: string;
  /** `profiles` and `proxies`: JSON rows as an upload packs them; `removal`: the line of a proxy. */
  kind: string;
  /** `staged` while an upload is being read, then `kept`. */
  state: string;
  /** Deflated and encrypted. */
  packed: Uint8Array | null;
  /** The same as text, of pieces that were written before there was `packed`; otherwise empty. */
  sealed: string;
  created_at: Iso;
}

/** Who was given a profile last. */
export interface ProfileHoldersTable {
  /** SHA-256 of the line. */
  id: string;
  session_id: string;
  /** The newest piece at that time: what was uploaded later was wanted again. */
  after_piece: number;
}

export interface SessionsTable {
  id: string;
  phone: string | null;
  /** The profile line as uploaded. */
  profile: string | null;
  tenant: string | null;
  provider: string;
  webhook_url: string | null;
  /** JSON {cpu?, memory?}. */
  resources: string | null;
  /** What a person wants: `running`, `stopped`, `deleted`. */
  desired: string;
  /** Raised by `restart`; a worker that was started for an older one is replaced. */
  generation: number;
  /** What is: one of the states of `domain/session-state.ts`. */
  state: string;
  reason: string | null;
  /** The proxy that the session is bound to; null while it has none. */
  proxy: string | null;
  /** 1 if the session may run without a proxy. */
  direct: number;
  jid: string | null;
  epoch: number;
  /** Crashes in a row, for back-off. */
  crashes: number;
  not_before: Iso | null;
  /** 1 if the device is to be unlinked when the worker stops. */
  logout: number;
  /** What its worker is to be started from while an upgrade goes on; null for what the fleet runs from. */
  image: Generated<string | null>;
  /** What its worker was started from last. */
  worker_image: Generated<string | null>;
  /** How often a worker of it ended, or fell silent, although nobody had asked for that. */
  unwanted_ends: Generated<number>;
  created_at: Iso;
  updated_at: Iso;
  connected_at: Iso | null;
}

/** Which session a request with an idempotency key has made. */
export interface SessionRequestsTable {
  idempotency_key: string;
  /** SHA-256 of what was asked for, to tell a repeat from a clash. */
  digest: string;
  session_id: string;
}

export interface JobsTable {
  id: string;
  idempotency_key: string | null;
  /** SHA-256 of the normalised request, to tell a repeat from a clash. */
  digest: string;
  tenant: string | null;
  session_id: string | null;
  message: string | null;
  media_ref: string | null;
  received: number;
  /** Contacts before this index have their task row. */
  expanded: number;
  /** What is queued before this position has been handed to its outbox for certain. */
  handed_over: Generated<number>;
  /** `accepted`, `waiting`, `running`, `paused`, `done`, `cancelled`. */
  state: string;
  waiting_for: string | null;
  not_before: Iso | null;
  expires_at: Iso | null;
  created_at: Iso;
  updated_at: Iso;
  finished_at: Iso | null;
}

/**
 * The contacts of a job that is not fully expanded, in slices. Apart from the job, because a row is written anew
 * as a whole on each update, and the contacts of one job can be megabytes.
 */
export interface JobContactsTable {
  job_id: string;
  /** Index of the slice's first contact. */
  first: number;
  /** JSON [[phone, name], …]. */
  contacts: string;
}

export interface TasksTable {
  id: string;
  session_id: string;
  job_id: string | null;
  /** Place within the job, or 0. */
  position: number;
  recipient: string | null;
  /** One of `domain/task-state.ts`. */
  state: string;
  /** The raw string as it was or will be pushed. */
  payload: string;
  media_ref: string | null;
  whatsapp_id: string | null;
  /** As of `NameSeries`: with `whatsapp_id` it is the key of an index. */
  name_series: Generated<number>;
  attempts: number;
  reason: string | null;
  created_at: Iso;
  queued_at: Iso | null;
  claimed_at: Iso | null;
  sent_at: Iso | null;
  delivered_at: Iso | null;
  read_at: Iso | null;
  /** When it failed or was cancelled. */
  ended_at: Iso | null;
}

export interface RecipientSendersTable {
  tenant: string;
  recipient: string;
  session_id: string;
  updated_at: Iso;
}

export interface EventsTable {
  id: Generated<number>;
  type: string;
  session_id: string | null;
  job_id: string | null;
  /** JSON. */
  data: string;
  created_at: Iso;
}

export interface AuthFencesTable {
  session_id: string;
  /** The highest epoch that has read or written; an older one is refused. */
  epoch: number;
  /** The last write applied, per epoch: a repeated or reordered write is recognised. */
  sequence: number;
  updated_at: Iso;
}

export interface AuthEntriesTable {
  session_id: string;
  /** `creds`, or a key type of the provider. */
  type: string;
  key_id: string;
  /** AES-256-GCM: nonce, ciphertext, tag; base64. */
  value: string;
}

/** What webhooks still have to tell, and what they gave up. */
export interface WebhookEventsTable {
  /** The order in which they are told. */
  seq: Generated<number>;
  session_id: string;
  /** One of `domain/webhook-event.ts`. */
  type: string;
  /** With session and type it names the event. */
  subject: string;
  /** When it happened. */
  at: Iso;
  /** JSON. */
  data: string;
  /** When it came to wait; again with a replay. */
  queued_at: Iso;
  attempts: Generated<number>;
  not_before: Iso | null;
  last_error: string | null;
  /** When it was given up; null while it waits. */
  dead_at: Iso | null;
}

export interface Schema {
  session_bindings: SessionBindingsTable;
  binding_lines: BindingLinesTable;
  phone_proxies: PhoneProxiesTable;
  outbox_delays: OutboxDelaysTable;
  node_wishes: NodeWishesTable;
  proxy_marks: ProxyMarksTable;
  pool_pieces: PoolPiecesTable;
  profile_holders: ProfileHoldersTable;
  sessions: SessionsTable;
  session_requests: SessionRequestsTable;
  fleet_image: FleetImageTable;
  upgrades: UpgradesTable;
  upgrade_sessions: UpgradeSessionsTable;
  jobs: JobsTable;
  job_contacts: JobContactsTable;
  tasks: TasksTable;
  recipient_senders: RecipientSendersTable;
  events: EventsTable;
  webhook_events: WebhookEventsTable;
  auth_fences: AuthFencesTable;
  auth_entries: AuthEntriesTable;
}
