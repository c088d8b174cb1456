import { randomUUID } from 'node:crypto';
import type { Clock } from '../kernel/clock.ts';
import { toIso } from '../kernel/clock.ts';
import { parseVersion } from './config.ts';
import { type OrchestratorHttp, OrchestratorRefusal } from './orchestrator-http.ts';

/** A task as a claim hands it over. `raw` is what ack, nack and touch name it by, byte for byte. */
export interface ClaimedTask {
  raw: string;
  task: unknown;
  /** Names this delivery: what is said under it has no effect on a later one. */
  claimId: string | undefined;
  attempt: number;
  /** How long the lease lasts from the claim, in milliseconds. */
  leaseMs: number;
}

export interface NackOptions {
  reason: string;
  permanent?: boolean;
  delayMs?: number;
  /** `false`: the session's own trouble, which is not held against the task. */
  countAttempt?: boolean;
}

export interface WorkerEvent {
  type: 'QR_UPDATE' | 'CONNECTED' | 'STATUS_CHANGE' | 'RECEIPT' | 'MESSAGE';
  /** Milliseconds since the Unix epoch. */
  at: number;
  data: Record<string, unknown>;
}

export interface Command {
  id: string;
  type: string;
  phone?: string;
}

export interface StoredAuth {
  sequence: number;
  creds: unknown;
  keys: Record<string, Record<string, unknown>>;
}

const SHORT_MS = 10_000;
const DEFAULT_LEASE_MS = 60_000;

/** The orchestrator's worker endpoints for one session. All errors are those of `OrchestratorHttp`. */
export class OrchestratorClient {
  readonly #http: OrchestratorHttp;
  readonly #sessionId: string;
  readonly #clock: Clock;
  readonly #base: string;
  #claimRequest = randomUUID();

  constructor(deps: { http: OrchestratorHttp; sessionId: string; clock: Clock }) {
    this.#http = deps.http;
    this.#sessionId = deps.sessionId;
    this.#clock = deps.clock;
    this.#base = `/api/worker/sessions/${encodeURIComponent(deps.sessionId)}`;
  }

  /**
   * Waits up to `timeoutSeconds` for a task. Until there is an answer, each call repeats the same request id:
   * a task whose answer got lost on the way is handed over again instead of waiting for its lease to run out.
   */
  async claim(timeoutSeconds: number, signal: AbortSignal): Promise<ClaimedTask | null> {
    const answer = record(
      await this.#http.json('POST', `${this.#base}/outbox/claim?timeout=${timeoutSeconds}`, {
        headers: { 'x-claim-request': this.#claimRequest },
        timeoutMs: timeoutSeconds * 1000 + SHORT_MS,
        signal,
      }),
    );
    this.#claimRequest = randomUUID();
    if (typeof answer.raw !== 'string') return null;
    return {
      raw: answer.raw,
      task: answer.task,
      claimId: typeof answer.claimId === 'string' ? answer.claimId : undefined,
      attempt: typeof answer.attempt === 'number' ? answer.attempt : 1,
      leaseMs: typeof answer.leaseMs === 'number' && answer.leaseMs > 0 ? answer.leaseMs : DEFAULT_LEASE_MS,
    };
  }

  async ack({ raw }: ClaimedTask, whatsappId: string, signal?: AbortSignal): Promise<void> {
    await this.#post('/outbox/ack', { raw, whatsappId }, SHORT_MS, signal);
  }

  async nack({ raw, claimId }: ClaimedTask, options: NackOptions, signal?: AbortSignal): Promise<void> {
    await this.#post('/outbox/nack', { raw, claimId, ...options }, SHORT_MS, signal);
  }

  async touch({ raw, claimId }: ClaimedTask, signal?: AbortSignal): Promise<void> {
    await this.#post('/outbox/touch', { raw, claimId }, SHORT_MS, signal);
  }

  async event(event: WorkerEvent, signal?: AbortSignal): Promise<void> {
    await this.#event(event, SHORT_MS, signal);
  }

  /** Says that the worker lives. @returns what the orchestrator wants done */
  async ping(state: Record<string, unknown>, timeoutMs: number, signal?: AbortSignal): Promise<Command[]> {
    const event = { type: 'PING', at: this.#clock.nowMs(), data: { status: 'ALIVE', ...state } } as const;
    const answer = record(await this.#event(event, timeoutMs, signal));
    return Array.isArray(answer.commands) ? answer.commands.flatMap(toCommand) : [];
  }

  /** Reports what became of a command. */
  async commandResult(id: string, result: Record<string, unknown>): Promise<void> {
    await this.#post(`/commands/${encodeURIComponent(id)}/result`, result, SHORT_MS);
  }

  async loadAuth(signal?: AbortSignal): Promise<StoredAuth> {
    const answer = record(await this.#http.json('GET', `${this.#base}/auth`, { timeoutMs: 30_000, signal }));
    const entries = record(answer.entries ?? {});
    return {
      sequence: typeof answer.sequence === 'number' ? answer.sequence : 0,
      creds: entries.creds ?? null,
      keys: record(entries.keys ?? {}) as Record<string, Record<string, unknown>>,
    };
  }

  /** @param body the JSON of `{sequence, set: {creds?, keys}}`; the same body may be put again */
  async putAuth(body: string, signal?: AbortSignal): Promise<void> {
    await this.#http.json('PUT', `${this.#base}/auth`, { body, timeoutMs: SHORT_MS, signal });
  }

  async media(ref: string, signal?: AbortSignal): Promise<Buffer> {
    return await this.#http.bytes(`/api/worker/media/${encodeURIComponent(ref)}`, {
      timeoutMs: 30_000,
      maxBytes: 32 * 1024 * 1024,
      signal,
    });
  }

  /** The web version that the orchestrator holds for all workers, or `null` if it keeps none. */
  async whatsappVersion(signal?: AbortSignal): Promise<[number, number, number] | null> {
    try {
      const path = '/api/worker/whatsapp-version';
      const answer = record(await this.#http.json('GET', path, { timeoutMs: SHORT_MS, signal }));
      return typeof answer.version === 'string' ? parseVersion(answer.version) : null;
    } catch (error) {
      if (error instanceof OrchestratorRefusal && error.status === 404) return null;
      throw error;
    }
  }

  async #event(
    event: { type: string; at: number; data: Record<string, unknown> },
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<unknown> {
    const { type, at, data } = event;
    const body = { sessionId: this.#sessionId, type, timestamp: toIso(at), data };
    return await this.#post('/events', body, timeoutMs, signal);
  }

  async #post(path: string, body: unknown, timeoutMs: number, signal?: AbortSignal): Promise<unknown> {
    return await this.#http.json('POST', this.#base + path, {
      body: JSON.stringify(body),
      timeoutMs,
      signal,
    });
  }
}

const record = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};

function toCommand(value: unknown): Command[] {
  const { id, type, phone } = record(value);
  if (typeof id !== 'string' || typeof type !== 'string') return [];
  return [typeof phone === 'string' ? { id, type, phone } : { id, type }];
}
