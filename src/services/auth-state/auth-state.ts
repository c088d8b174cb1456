import { type Clock, toIso } from '../../kernel/clock.ts';
import { conflict, type FlotillaError, notFound } from '../../kernel/errors.ts';
import {
  type AuthEntry,
  type AuthRefusal,
  type AuthStore,
  type AuthWrite,
  SealBroken,
  type Sealer,
} from './ports.ts';

/** What one PUT changes. Values are any JSON; null deletes. */
export interface AuthChange {
  creds?: unknown;
  keys?: Record<string, Record<string, unknown>> | undefined;
}

/** The key does not fit. Its message is for a person, and complete. */
export class AuthKeyError extends Error {
  override readonly name = 'AuthKeyError';
}

const CREDS = 'creds';
/** The credentials are one entry, whose type and id are the same. */
const CREDS_ID = 'creds';

/** The central auth state of workers: encrypted, ordered, and written by one worker at a time. */
export class AuthState {
  readonly #deps: { store: AuthStore; sealer: Sealer; clock: Clock };

  constructor(deps: { store: AuthStore; sealer: Sealer; clock: Clock }) {
    this.#deps = deps;
  }

  /** @throws AuthKeyError when the key is not the one that the stored entries were sealed with */
  async verifyKey(): Promise<void> {
    const sample = await this.#deps.store.sample();
    if (!sample) return;
    try {
      this.#open(sample.sessionId, sample.entry);
    } catch (error) {
      if (!(error instanceof SealBroken)) throw error;
      throw new AuthKeyError(
        'AUTH_ENCRYPTION_KEY is not the key that the stored credentials were encrypted with. ' +
          'Give the old key back, or remove the database to pair every session anew.',
        { cause: error },
      );
    }
  }

  /**
   * The whole state as JSON text: `{"status":"ok","sequence":n,"entries":{"creds":…,"keys":{type:{id:value}}}}`.
   * Text, because entries are stored as JSON and need not be taken apart to be sent.
   * @param epoch of the worker's token; 0 for one without, which is not fenced
   * @throws FlotillaError 404 `unknown_session`, 409 `stale_epoch`
   */
  async load(sessionId: string, epoch: number): Promise<string> {
    const loaded = await this.#deps.store.load(sessionId, epoch, this.#now());
    if (!loaded.ok) throw refused(loaded.code, sessionId, 0);
    let creds: string | null = null;
    const types = new Map<string, string[]>();
    for (const entry of loaded.entries) {
      const value = this.#open(sessionId, entry);
      if (entry.type === CREDS) {
        creds = value;
        continue;
      }
      const values = types.get(entry.type) ?? [];
      values.push(`${JSON.stringify(entry.keyId)}:${value}`);
      types.set(entry.type, values);
    }
    const keys = [...types]
      .map(([type, values]) => `${JSON.stringify(type)}:{${values.join(',')}}`)
      .join(',');
    const entries = `{${creds === null ? '' : `"creds":${creds},`}"keys":{${keys}}}`;
    return `{"status":"ok","sequence":${loaded.sequence},"entries":${entries}}`;
  }

  /**
   * One write, all or nothing.
   * @returns whether it changed anything: the same sequence again does not
   * @throws FlotillaError 404 `unknown_session`, 409 `stale_epoch`, 409 `auth_out_of_order`
   */
  async apply(sessionId: string, epoch: number, sequence: number, change: AuthChange): Promise<boolean> {
    const writes: AuthWrite[] = [];
    const add = (type: string, keyId: string, value: unknown): void => {
      const sealed =
        value === null || value === undefined
          ? null
          : this.#deps.sealer.seal(JSON.stringify(value), contextOf(sessionId, type, keyId));
      writes.push({ type, keyId, value: sealed });
    };
    if ('creds' in change && change.creds !== undefined) add(CREDS, CREDS_ID, change.creds);
    for (const [type, values] of Object.entries(change.keys ?? {})) {
      for (const [keyId, value] of Object.entries(values)) add(type, keyId, value);
    }
    const result = await this.#deps.store.apply(sessionId, epoch, sequence, writes, this.#now());
    if (!result.ok) throw refused(result.code, sessionId, result.sequence);
    return result.applied;
  }

  wipe(sessionId: string): Promise<void> {
    return this.#deps.store.wipe(sessionId, this.#now());
  }

  erase(sessionId: string): Promise<void> {
    return this.#deps.store.erase(sessionId);
  }

  #open(sessionId: string, { type, keyId, value }: AuthEntry): string {
    return this.#deps.sealer.open(value, contextOf(sessionId, type, keyId));
  }

  #now(): string {
    return toIso(this.#deps.clock.nowMs());
  }
}

/** No entry can stand in for another one, of whichever session. */
const contextOf = (sessionId: string, type: string, keyId: string): string =>
  JSON.stringify([sessionId, type, keyId]);

function refused(code: AuthRefusal, sessionId: string, sequence: number): FlotillaError {
  switch (code) {
    case 'unknown_session':
      return notFound(code, `There is no session ${sessionId}.`);
    case 'stale_epoch':
      return conflict(code, 'Another worker owns this session now; stop at once.');
    case 'auth_out_of_order':
      return conflict(code, `The last write was number ${sequence}; the next one must follow it.`, {
        details: { sequence },
      });
  }
}
