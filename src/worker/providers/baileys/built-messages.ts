import { proto } from '@whiskeysockets/baileys';
import type { Clock } from '../../../kernel/clock.ts';
import type { AuthWriter } from '../../auth-writer.ts';

interface Entry {
  at: number;
  taskId: string | null;
  bytes: string;
}

/** Types of our own beside Baileys' in the session's auth state. */
const SENT = 'flotilla-sent';
const UPLOADED = 'flotilla-upload';

/**
 * The last messages as they were built, and the last uploads, kept in the session's auth state: there they are
 * encrypted, belong to the session wherever it runs next, and travel with the key commit of the send itself, so
 * that they cost no request of their own. They serve
 * - a second delivery of a task: the same message again, with the same media,
 * - a recipient that could not decrypt and asks again, after a restart of this worker too.
 */
export class BuiltMessages {
  readonly #sent: PersistedRing;
  readonly #uploads: PersistedRing;
  readonly #clock: Clock;

  constructor(auth: AuthWriter, clock: Clock) {
    this.#clock = clock;
    this.#sent = new PersistedRing(auth, SENT, 128);
    this.#uploads = new PersistedRing(auth, UPLOADED, 8);
  }

  message(id: string): proto.IMessage | undefined {
    const entry = this.#sent.get(id);
    return entry && proto.Message.decode(Buffer.from(entry.bytes, 'base64'));
  }

  taskIdOf(id: string): string | null {
    return this.#sent.get(id)?.taskId ?? null;
  }

  keepMessage(id: string, taskId: string | null, message: proto.IMessage): void {
    this.#sent.put(id, { at: this.#clock.nowMs(), taskId, bytes: encode(message) });
  }

  /** An upload of this media that WhatsApp still holds. */
  upload(ref: string): proto.IMessage | undefined {
    const entry = this.#uploads.get(ref);
    if (!entry || this.#clock.nowMs() - entry.at > UPLOAD_LIVES_MS) return undefined;
    return proto.Message.decode(Buffer.from(entry.bytes, 'base64'));
  }

  keepUpload(ref: string, message: proto.IMessage): void {
    this.#uploads.put(ref, { at: this.#clock.nowMs(), taskId: null, bytes: encode(message) });
  }
}

/** WhatsApp keeps an upload for weeks; a day is long enough for any job, and safe. */
const UPLOAD_LIVES_MS = 24 * 60 * 60 * 1000;

const encode = (message: proto.IMessage): string =>
  Buffer.from(proto.Message.encode(message).finish()).toString('base64');

/** The newest `capacity` entries of one type; what falls out is deleted where it is stored. */
class PersistedRing {
  readonly #auth: AuthWriter;
  readonly #type: string;
  readonly #capacity: number;
  /** Oldest first. */
  readonly #ids: Set<string>;

  constructor(auth: AuthWriter, type: string, capacity: number) {
    this.#auth = auth;
    this.#type = type;
    this.#capacity = capacity;
    const stored = auth.entries(type).map(([id, json]) => ({ id, at: (JSON.parse(json) as Entry).at }));
    this.#ids = new Set(stored.sort((a, b) => a.at - b.at).map(({ id }) => id));
  }

  get(id: string): Entry | undefined {
    const json = this.#auth.get(this.#type, id);
    return json === undefined ? undefined : (JSON.parse(json) as Entry);
  }

  put(id: string, entry: Entry): void {
    this.#ids.delete(id);
    this.#ids.add(id);
    const changes: Record<string, string | null> = { [id]: JSON.stringify(entry) };
    for (const oldest of this.#ids) {
      if (this.#ids.size <= this.#capacity) break;
      this.#ids.delete(oldest);
      changes[oldest] = null;
    }
    this.#auth.stage({ [this.#type]: changes });
  }
}
