export type UploadKind = 'profiles' | 'proxies';

/** A line that was not added, numbered from 1. */
export interface RejectedLine {
  line: number;
  reason: string;
}

export interface UploadReport {
  /** Entries that were not there before, neither free nor used. */
  added: number;
  duplicates: number;
  /** The first 100. */
  rejected: RejectedLine[];
  rejectedTotal: number;
}

/**
 * What was done to the pools, in SQL and in order, for a Redis that has lost it. Each piece has an id above 0, which
 * Redis remembers together with what the piece has changed. Where nothing may be kept, ids are 0.
 */
export interface PoolPieces {
  /** Part of an upload that is still being read. */
  stage(kind: UploadKind, uploadId: string, piece: Buffer): Promise<number>;
  /** The upload is complete: from now on it is promised. */
  keep(uploadId: string): Promise<void>;
  /** These have changed nothing. */
  drop(ids: readonly number[]): Promise<void>;
  discard(uploadId: string): Promise<void>;
  /** One that is promised at once: rows as an upload packs them, or the line of a proxy that was removed. */
  add(kind: PieceKind, content: string): Promise<number>;
  /** Ids of all that is promised, oldest first. */
  ids(): Promise<number[]>;
  /** Null for one that is gone, or was written under another key. */
  read(id: number): Promise<{ kind: PieceKind; content: string } | null>;
}

export type PieceKind = UploadKind | 'removal';

export interface CommitStep {
  /** The id that the piece was staged with; null if none was left. */
  piece: number | null;
  /** Whether it has changed anything. */
  changed: boolean;
  /** Pieces that are still staged. */
  left: number;
  added: number;
  duplicates: number;
  /** Numbers of lines whose id belongs to another profile. */
  clashes: number[];
}

export interface InventoryCounts {
  profiles: { available: number; used: number; held: number };
  proxies: { available: number; total: number; bad: number; draining: number };
  /** Sessions that hold a binding. */
  bound: number;
  /** How many more sessions the proxies in service can carry. */
  capacity: number;
}

export const PROXY_STATES = ['available', 'full', 'bad', 'draining'] as const;
export type ProxyState = (typeof PROXY_STATES)[number];

export interface ProxyFacts {
  /** The line as uploaded, with its credentials. */
  line: string;
  sessions: number;
  state: ProxyState;
  lastError: { error: string; at: string } | null;
}

/** What a person wants of a proxy; `good` for one that was put back into service. */
export interface ProxyMark {
  line: string;
  mark: 'bad' | 'draining' | 'good';
  error: { error: string; at: string } | null;
}

/** These wishes in SQL, for a Redis that has lost them. */
export interface ProxyMarks {
  set(mark: ProxyMark): Promise<void>;
  all(): Promise<ProxyMark[]>;
  drop(line: string): Promise<void>;
}

/** Pools in Redis. */
export interface InventoryStore {
  /**
   * Appends a piece (as `PieceWriter` packs it; not used after the call has ended) to an upload's staging list,
   * which is dropped by itself if nothing comes for a while.
   */
  stage(kind: UploadKind, uploadId: string, piece: Buffer, pieceId: number): Promise<void>;
  /** Moves the next piece into the pool, atomically. */
  commitStep(kind: UploadKind, uploadId: string): Promise<CommitStep>;
  discard(kind: UploadKind, uploadId: string): Promise<void>;
  /** SQL keeps these, and the pools hold them. */
  rememberPieces(ids: readonly number[]): Promise<void>;
  /** SQL does not keep these. */
  forgetPieces(ids: readonly number[]): Promise<void>;

  counts(): Promise<InventoryCounts>;
  /** A page of proxies in no particular order. */
  proxies(page: { state?: ProxyState; limit: number; cursor?: string }): Promise<{
    proxies: ProxyFacts[];
    nextCursor: string | null;
  }>;
  proxy(line: string): Promise<ProxyFacts | null>;
  /** Those of the lines that are in the pool. */
  known(lines: readonly string[]): Promise<string[]>;
  /** All members of the pool, in pieces; with `hostPort` only those that may contain it. */
  scanProxies(hostPort?: string): AsyncIterable<string[]>;

  /** Profiles that are not put aside, in pieces: those in use first, then in the order in which they are offered. */
  scanProfiles(): AsyncIterable<string[]>;

  /** @returns sessions on the proxy, or null if it is unknown */
  markBad(line: string, error: { error: string; at: string } | null): Promise<number | null>;
  /** @param pieceId under which SQL knows of it */
  restore(line: string, pieceId: number): Promise<number | null>;
  /** 0: it is gone. More: it goes when its last session has left. */
  drain(line: string, pieceId: number): Promise<number | null>;

  /** The line of the profile with that id or that very line; null if there is none. */
  findProfile(reference: string): Promise<string | null>;
}
