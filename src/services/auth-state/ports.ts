/** One entry of a session's auth state, as stored. */
export interface AuthEntry {
  /** `creds`, or a key type of the provider. */
  type: string;
  keyId: string;
  /** Sealed. */
  value: string;
}

/** An entry to write; a null value deletes. */
export interface AuthWrite {
  type: string;
  keyId: string;
  value: string | null;
}

export type AuthRefusal = 'stale_epoch' | 'auth_out_of_order' | 'unknown_session';

export interface AuthStore {
  /**
   * Reads everything, and raises the fence to `epoch` in the same transaction: what an older worker still
   * writes after this is refused.
   */
  load(
    sessionId: string,
    epoch: number,
    at: string,
  ): Promise<{ ok: true; sequence: number; entries: AuthEntry[] } | { ok: false; code: AuthRefusal }>;
  /**
   * Applies one write, all or nothing: `sequence` must follow the last one; the last one again changes nothing.
   */
  apply(
    sessionId: string,
    epoch: number,
    sequence: number,
    writes: readonly AuthWrite[],
    at: string,
  ): Promise<{ ok: true; applied: boolean } | { ok: false; code: AuthRefusal; sequence: number }>;
  /** Removes all entries. The fence is raised above the present epoch, and stays. */
  wipe(sessionId: string, at: string): Promise<void>;
  /** Removes entries and fence. */
  erase(sessionId: string): Promise<void>;
  /** Any one entry, for the check of the key; null if there is none at all. */
  sample(): Promise<{ sessionId: string; entry: AuthEntry } | null>;
}

/** Encrypts and authenticates. */
export interface Sealer {
  /** @param context what the value belongs to; the same one is needed to open it */
  seal(plain: string, context: string): string;
  /** @throws SealBroken when key or context are others, or the value was changed */
  open(sealed: string, context: string): string;
  /** The same for bytes, a third shorter than as text. */
  sealBytes(plain: Uint8Array, context: string): Buffer;
  /** @throws SealBroken */
  openBytes(sealed: Uint8Array, context: string): Buffer;
}

export class SealBroken extends Error {
  override readonly name = 'SealBroken';
}
