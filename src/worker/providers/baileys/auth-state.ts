import {
  type AuthenticationCreds,
  type AuthenticationState,
  BufferJSON,
  initAuthCreds,
  proto,
  type SignalDataSet,
  type SignalDataTypeMap,
} from '@whiskeysockets/baileys';
import type { AuthChanges, AuthWriter } from '../../auth-writer.ts';

/** Baileys' view of the session's auth state, and the way to have changed credentials written. */
export interface BaileysAuth {
  state: AuthenticationState;
  /** Baileys announces parts; the whole is what is stored. */
  saveCreds(): void;
}

/**
 * Reads come from memory, and each is a fresh copy: Baileys and libsignal change what they get.
 * A `set` resolves when it is stored durably, so that nothing is receipted or acked on a state that could be lost.
 */
export function createAuthState(auth: AuthWriter): BaileysAuth {
  const creds = auth.creds === undefined ? initAuthCreds() : (revive(auth.creds) as AuthenticationCreds);
  return {
    state: {
      creds,
      keys: {
        get: <T extends keyof SignalDataTypeMap>(type: T, ids: string[]) => {
          const found: { [id: string]: SignalDataTypeMap[T] } = {};
          for (const id of ids) {
            const stored = auth.get(type, id);
            if (stored !== undefined) found[id] = toValue(type, revive(stored)) as SignalDataTypeMap[T];
          }
          return found;
        },
        set: (data: SignalDataSet) => auth.set(toChanges(data)),
      },
    },
    saveCreds: () => auth.setCreds(JSON.stringify(creds, BufferJSON.replacer)),
  };
}

/**
 * A pairing code that was asked for and never typed in leaves `me` behind; the next connection would then try to
 * log in as an account that never was, and be told 401.
 */
export function forgetHalfPairing(creds: AuthenticationCreds): void {
  if (creds.account || !creds.me) return;
  delete creds.me;
  creds.pairingCode = undefined;
}

const revive = (json: string): unknown => JSON.parse(json, BufferJSON.reviver);

function toValue(type: keyof SignalDataTypeMap, value: unknown): unknown {
  return type === 'app-state-sync-key'
    ? proto.Message.AppStateSyncKeyData.fromObject(value as Record<string, unknown>)
    : value;
}

function toChanges(data: SignalDataSet): AuthChanges {
  const changes: AuthChanges = {};
  for (const [type, values] of Object.entries(data)) {
    const entries: Record<string, string | null> = {};
    for (const [id, value] of Object.entries(values ?? {})) {
      entries[id] = value === null || value === undefined ? null : JSON.stringify(value, BufferJSON.replacer);
    }
    changes[type] = entries;
  }
  return changes;
}
