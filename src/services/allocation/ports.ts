/** What a session holds. `proxy` and `profile` are the lines as uploaded. */
export interface Binding {
  sessionId: string;
  phone: string | null;
  proxy: string | null;
  profile: string | null;
}

export interface AllocationRequest {
  sessionId: string;
  /** Null while the phone is not known yet: the cap is then enforced by `assignPhone`. */
  phone: string | null;
  /** A profile line that must be taken; null takes none. */
  profile: string | null;
  /** Taken if it is in service and has room; else as if it were not given. */
  pinnedProxy: string | null;
  /** No proxy at all. */
  direct: boolean;
}

export type AllocationRefusal =
  | 'phone_cap_reached'
  | 'no_proxy_available'
  | 'no_profile_available'
  | 'profile_in_use';

export type AllocationResult =
  | { ok: true; binding: Binding; created: boolean }
  | { ok: false; code: AllocationRefusal };

export interface ReleaseOptions {
  /** A stopped session keeps its profile, so that nobody else takes it until it is started again or deleted. */
  keepProfile: boolean;
  /** With `keepProfile: false`: the profile is put aside, and `nextProfiles` does not offer it. */
  holdProfile?: boolean;
  /** Of the lead under which this was planned: refused if another runner leads by now, which may have started a worker. */
  fence?: number;
}

export interface ReconcileOptions {
  /** Look at every member of the pools, however many there are. */
  full?: boolean;
}

/** Binds sessions to proxy, phone and profile. Every call is atomic and idempotent per session. */
export interface Allocation {
  /** An existing binding is returned as it is. A refusal changes nothing. */
  allocate(request: AllocationRequest): Promise<AllocationResult>;
  /** @returns what was released, or null if nothing was bound. Call it only when the worker is known to be gone. */
  release(sessionId: string, options: ReleaseOptions): Promise<Binding | null>;
  /** Gives back the profile that a session kept when it was stopped. @returns the profile, or null if it kept none */
  releaseProfile(sessionId: string, options: { hold: boolean }): Promise<string | null>;
  /** A bound session has learned its phone (or changed it). */
  assignPhone(sessionId: string, phone: string): Promise<'assigned' | 'phone_cap_reached' | 'not_bound'>;
  binding(sessionId: string): Promise<Binding | null>;
  bindings(): Promise<Binding[]>;
  /** Up to `count` profile lines that are free and not put aside, in the order of their upload. */
  nextProfiles(count: number): Promise<string[]>;
  /** How many more sessions the proxies in service can carry. */
  capacity(): Promise<number>;
  /** Recounts, repairs and logs drift. @returns how many facts were wrong */
  reconcile(options?: ReconcileOptions): Promise<{ repaired: number }>;
}

/** The part of `Allocation` that Redis decides. */
export type BindingRegistry = Omit<Allocation, 'reconcile'>;

/** One thing that was found wrong and has been put right. */
export interface Repair {
  /** What kind of fact: `proxy_count`, `phone_count`, `proxy_place`, `profile_place`, … */
  kind: string;
  /** Profile or proxy line, or phone: to be masked before it is shown. */
  subject: string;
}

/** The repairs on Redis, in steps that are each short and atomic. */
export interface PoolRepairs {
  /** Recounts both counters from the bindings, and puts owners of profiles right. */
  recount(): Promise<Repair[]>;
  /** Whether the sizes of the pools agree with each other; cheap. */
  sizesAgree(): Promise<boolean>;
  /** Puts every proxy and every profile into the sets where it belongs. */
  replace(): Promise<Repair[]>;
  /** Members of the proxy pool, all of them fewer than this are cheap to look at one by one. */
  poolSize(): Promise<number>;
}

/** The audit trail: one row per binding, kept as history. */
export interface BindingStore {
  /** Applies the changes in order, all or none. A session has at most one active row. */
  apply(changes: readonly BindingChange[]): Promise<void>;
  /** All active rows, oldest first. */
  active(): Promise<ActiveRow[]>;
}

export interface BindingRow {
  sessionId: string;
  phone: string | null;
  /** host:port. */
  proxy: string | null;
  profileId: string | null;
}

export interface ActiveRow extends BindingRow {
  rowId: number;
}

export type BindingChange =
  /** `binding` is kept encrypted beside the row, for a Redis that has lost it. */
  | { type: 'bound'; row: BindingRow; binding: Binding; atMs: number }
  | { type: 'phone'; sessionId: string; phone: string; atMs: number }
  | { type: 'released'; sessionId: string; atMs: number }
  | { type: 'row_released'; rowId: number; atMs: number };
