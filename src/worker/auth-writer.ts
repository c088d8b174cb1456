import type { Clock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/log.ts';
import type { OrchestratorClient, StoredAuth } from './orchestrator-client.ts';
import { OrchestratorRefusal, OrchestratorUnreachable } from './orchestrator-http.ts';
import { retryDelayMs } from './retry-delay.ts';

/** Entries of the auth state by type and id. Values are JSON documents; `null` deletes. */
export type AuthChanges = Record<string, Record<string, string | null>>;

const FIRST_RETRY_MS = 100;

interface Batch {
  creds: string | undefined;
  keys: Map<string, Map<string, string | null>>;
}

export interface AuthWriterDeps {
  client: Pick<OrchestratorClient, 'putAuth'>;
  clock: Clock;
  log: Logger;
  /** The orchestrator refused a write in a way that no repetition mends. Called once. */
  onRefused(refusal: OrchestratorRefusal): void;
}

/**
 * The session's auth state: all of it in memory as JSON text (a tenth of what parsed keys weigh), each change
 * written through to the orchestrator by this single writer, in order, one request in flight.
 *
 * A request carries everything that was changed since the one before, so each `set` stays whole, and carries the
 * next sequence number; it is repeated, byte for byte, until the orchestrator has answered.
 */
export class AuthWriter {
  readonly #deps: AuthWriterDeps;
  readonly #keys = new Map<string, Map<string, string>>();
  readonly #stop = new AbortController();
  #creds: string | undefined;
  #sequence: number;
  #batch: Batch = emptyBatch();
  /** Counts the changes that want to be written, and up to which one they are. */
  #wanted = 0;
  #written = 0;
  #waiters: { wanted: number; resolve: () => void; reject: (error: unknown) => void }[] = [];
  #writing = false;
  #failed: Error | undefined;

  constructor(stored: StoredAuth, deps: AuthWriterDeps) {
    this.#deps = deps;
    this.#sequence = stored.sequence;
    if (stored.creds !== null && stored.creds !== undefined) this.#creds = JSON.stringify(stored.creds);
    for (const [type, values] of Object.entries(stored.keys)) {
      const entries = new Map<string, string>();
      for (const [id, value] of Object.entries(values)) entries.set(id, JSON.stringify(value));
      this.#keys.set(type, entries);
    }
  }

  /** The credentials as last set, as JSON, or `undefined` for a session that was never paired. */
  get creds(): string | undefined {
    return this.#creds;
  }

  get(type: string, id: string): string | undefined {
    return this.#keys.get(type)?.get(id);
  }

  /** All entries of a type. */
  entries(type: string): [id: string, value: string][] {
    return [...(this.#keys.get(type) ?? [])];
  }

  setCreds(creds: string): void {
    if (creds === this.#creds) return;
    this.#creds = creds;
    this.#batch.creds = creds;
    this.#kick();
  }

  /** Takes the changes over at once; resolves when they are stored durably. */
  async set(changes: AuthChanges): Promise<void> {
    this.stage(changes);
    this.#kick();
    await this.flushed();
  }

  /** Takes the changes over, and lets them travel with the next write: for what may be lost with a crash. */
  stage(changes: AuthChanges): void {
    for (const [type, values] of Object.entries(changes)) {
      const known = at(this.#keys, type);
      const pending = at(this.#batch.keys, type);
      for (const [id, value] of Object.entries(values)) {
        if (value === null) known.delete(id);
        else known.set(id, value);
        pending.set(id, value);
      }
    }
  }

  /** Resolves when everything that was set up to now is stored durably; rejects if it never will be. */
  async flushed(): Promise<void> {
    if (this.#failed) throw this.#failed;
    const wanted = this.#wanted;
    if (this.#written >= wanted) return;
    await new Promise<void>((resolve, reject) => this.#waiters.push({ wanted, resolve, reject }));
  }

  /** Writes what was staged, too. */
  async flush(): Promise<void> {
    if (this.#batch.keys.size > 0) this.#kick();
    await this.flushed();
  }

  /** Gives up what is not yet written. */
  stop(): void {
    this.#stop.abort(new Error('the worker stops'));
  }

  #kick(): void {
    this.#wanted += 1;
    if (this.#writing || this.#failed) return;
    this.#writing = true;
    void this.#write();
  }

  async #write(): Promise<void> {
    try {
      while (this.#written < this.#wanted) {
        // One turn of the event loop first, so that the sets of one send travel together.
        await Promise.resolve();
        const upTo = this.#wanted;
        const batch = this.#batch;
        this.#batch = emptyBatch();
        this.#sequence += 1;
        await this.#put(serialise(this.#sequence, batch));
        this.#written = upTo;
        const done = this.#waiters.filter((waiter) => waiter.wanted <= upTo);
        this.#waiters = this.#waiters.filter((waiter) => waiter.wanted > upTo);
        for (const waiter of done) waiter.resolve();
      }
    } catch (error) {
      this.#failed = error instanceof Error ? error : new Error(messageOf(error));
      for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#failed);
    } finally {
      this.#writing = false;
    }
  }

  async #put(body: string): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.#deps.client.putAuth(body, this.#stop.signal);
        if (attempt > 0) this.#deps.log.info({ attempt }, 'the auth state is written again');
        return;
      } catch (error) {
        const again =
          error instanceof OrchestratorUnreachable ||
          (error instanceof OrchestratorRefusal && error.retryable);
        if (error instanceof OrchestratorRefusal && !again) this.#deps.onRefused(error);
        if (!again) throw error;
        if (attempt === 0) {
          this.#deps.log.warn({ error: messageOf(error) }, 'the auth state cannot be written, trying on');
        }
        await this.#deps.clock.sleep(retryDelayMs(attempt + 1, FIRST_RETRY_MS), this.#stop.signal);
      }
    }
  }
}

const emptyBatch = (): Batch => ({ creds: undefined, keys: new Map() });

function at<V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> {
  let inner = map.get(key);
  if (!inner) {
    inner = new Map();
    map.set(key, inner);
  }
  return inner;
}

function serialise(sequence: number, batch: Batch): string {
  const types = [...batch.keys].map(([type, values]) => {
    const entries = [...values].map(([id, value]) => `${JSON.stringify(id)}:${value ?? 'null'}`);
    return `${JSON.stringify(type)}:{${entries.join(',')}}`;
  });
  const creds = batch.creds === undefined ? '' : `"creds":${batch.creds},`;
  return `{"sequence":${sequence},"set":{${creds}"keys":{${types.join(',')}}}}`;
}
