import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** An event as a worker reported it. */
export interface SeenEvent {
  type: string;
  timestamp: string;
  data: Record<string, unknown>;
}

type Answer = { status: number; body: unknown };
type Say = { kind: 'ack' | 'nack' | 'touch'; raw: string; body: Record<string, unknown> };

const refusal = (status: number, code: string): Answer => ({
  status,
  body: { status: 'error', code, reason: code, requestId: 'r' },
});

/**
 * The worker side of the HTTP contract for one session, in memory, with the faults that the real orchestrator
 * cannot be made to have: an answer that gets lost, an auth store that fails for a while, an epoch that ends.
 */
export class WorkerOrchestrator {
  readonly events: SeenEvent[] = [];
  readonly says: Say[] = [];
  readonly auth = {
    sequence: 0,
    creds: null as unknown,
    keys: {} as Record<string, Record<string, unknown>>,
  };
  readonly media = new Map<string, Buffer>();
  readonly commandResults = new Map<string, Record<string, unknown>>();
  queue: string[] = [];
  commands: Record<string, unknown>[] = [];
  version: string | null = null;
  /** Connections are cut without an answer. */
  away = false;
  /** Everything is answered 409 `stale_epoch`. */
  stale = false;
  /** This many PUTs of the auth state fail with 503. */
  authFailures = 0;
  /** This many acks are carried out, and their answers lost. */
  lostAcks = 0;
  pings = 0;
  /** When claims came, also those that had no answer; monotonic milliseconds. */
  readonly claimsAt: number[] = [];
  authPuts = 0;
  mediaFetches = 0;
  claimRequests: string[] = [];
  /** raw → deliveries. In flight. */
  readonly processing = new Map<string, number>();
  readonly #deliveries = new Map<string, number>();
  readonly dead = new Map<string, string>();
  readonly done: string[] = [];
  readonly #server: http.Server;
  readonly #polls = new Set<() => void>();

  constructor() {
    this.#server = http.createServer((request, response) => {
      void this.#serve(request, response);
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** @returns the raw string */
  enqueue(task: Record<string, unknown>): string {
    const raw = JSON.stringify(task);
    this.queue.push(raw);
    for (const wake of this.#polls) wake();
    return raw;
  }

  ofType(type: string): SeenEvent[] {
    return this.events.filter((event) => event.type === type);
  }

  /** What an expired lease does. */
  requeueProcessing(): void {
    this.queue.unshift(...this.processing.keys());
    this.processing.clear();
    for (const wake of this.#polls) wake();
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.url?.includes('/outbox/claim')) this.claimsAt.push(performance.now());
    if (this.away) return void request.socket.destroy();
    const text = Buffer.concat(chunks).toString();
    const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
    const path = request.url ?? '';
    if (path.startsWith('/api/worker/media/')) {
      this.mediaFetches += 1;
      const bytes = this.media.get(decodeURIComponent(path.slice('/api/worker/media/'.length)));
      if (bytes) return void response.end(bytes);
      return send(response, refusal(404, 'unknown_media'));
    }
    const answer = await this.#answer(request, path, body);
    if (this.away || answer === 'lost') return void request.socket.destroy();
    send(response, answer);
  }

  async #answer(
    request: http.IncomingMessage,
    path: string,
    body: Record<string, unknown>,
  ): Promise<Answer | 'lost'> {
    if (this.stale) return refusal(409, 'stale_epoch');
    const ok = (more: Record<string, unknown> = {}) => ({ status: 200, body: { status: 'ok', ...more } });
    if (path.endsWith('/whatsapp-version')) return ok({ version: this.version });
    if (path.endsWith('/auth')) return request.method === 'GET' ? ok(this.#readAuth()) : this.#putAuth(body);
    if (path.endsWith('/events')) return ok(this.#event(body));
    const result = /\/commands\/([^/]+)\/result$/.exec(path);
    if (result) {
      this.commandResults.set(decodeURIComponent(result[1] ?? ''), body);
      return ok();
    }
    if (path.includes('/outbox/claim')) {
      this.claimRequests.push(String(request.headers['x-claim-request']));
      return ok(await this.#claim(request));
    }
    const kind = /\/outbox\/(ack|nack|touch)$/.exec(path)?.[1] as Say['kind'] | undefined;
    if (!kind) return refusal(404, 'not_found');
    this.says.push({ kind, raw: String(body.raw), body });
    return this.#settle(kind, String(body.raw), body) ? 'lost' : ok({ acked: true });
  }

  #readAuth(): Record<string, unknown> {
    const { sequence, creds, keys } = this.auth;
    return { sequence, entries: { ...(creds ? { creds } : {}), keys } };
  }

  #putAuth(body: Record<string, unknown>): Answer {
    this.authPuts += 1;
    if (this.authFailures > 0) {
      this.authFailures -= 1;
      return refusal(503, 'database_down');
    }
    const sequence = Number(body.sequence);
    if (sequence === this.auth.sequence) return { status: 200, body: { status: 'ok' } };
    if (sequence !== this.auth.sequence + 1) return refusal(409, 'auth_out_of_order');
    const set = body.set as { creds?: unknown; keys?: Record<string, Record<string, unknown>> };
    this.auth.sequence = sequence;
    if (set.creds) this.auth.creds = set.creds;
    for (const [type, values] of Object.entries(set.keys ?? {})) {
      const stored = this.auth.keys[type] ?? {};
      this.auth.keys[type] = stored;
      for (const [id, value] of Object.entries(values)) {
        if (value === null) delete stored[id];
        else stored[id] = value;
      }
    }
    return { status: 200, body: { status: 'ok' } };
  }

  #event(body: Record<string, unknown>): Record<string, unknown> {
    if (body.type !== 'PING') {
      this.events.push(body as unknown as SeenEvent);
      return {};
    }
    this.pings += 1;
    return { commands: this.commands.splice(0) };
  }

  async #claim(request: http.IncomingMessage): Promise<Record<string, unknown>> {
    const timeoutMs = Number(new URL(request.url ?? '', 'http://x').searchParams.get('timeout')) * 1000;
    if (this.queue.length === 0) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#polls.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, timeoutMs);
        this.#polls.add(wake);
        request.socket.once('close', wake);
      });
    }
    if (request.socket.destroyed || this.away) return { task: null };
    const raw = this.queue.shift();
    if (raw === undefined) return { task: null };
    const attempt = (this.#deliveries.get(raw) ?? 0) + 1;
    this.#deliveries.set(raw, attempt);
    this.processing.set(raw, attempt);
    return { task: JSON.parse(raw) as unknown, raw, attempt, leaseMs: 60_000 };
  }

  /** @returns whether the answer gets lost */
  #settle(kind: Say['kind'], raw: string, body: Record<string, unknown>): boolean {
    if (kind === 'touch') return false;
    const held = this.processing.delete(raw);
    if (kind === 'ack') {
      if (held) this.done.push(raw);
      if (this.lostAcks === 0) return false;
      this.lostAcks -= 1;
      return true;
    }
    if (!held) return false;
    if (body.permanent === true) this.dead.set(raw, String(body.reason));
    else setTimeout(() => this.#back(raw), Number(body.delayMs ?? 0));
    return false;
  }

  #back(raw: string): void {
    this.queue.unshift(raw);
    for (const wake of this.#polls) wake();
  }
}

function send(response: http.ServerResponse, { status, body }: Answer): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
