import http from 'node:http';
import https from 'node:https';
import { messageOf } from '../kernel/errors.ts';

/** The orchestrator did not answer, or something before it did: try again later with the same request. */
export class OrchestratorUnreachable extends Error {
  constructor(reason: string, options?: { cause?: unknown }) {
    super(reason, options);
    this.name = 'OrchestratorUnreachable';
  }
}

/** The orchestrator answered, and the answer is no. */
export class OrchestratorRefusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, reason: string) {
    super(reason);
    this.name = 'OrchestratorRefusal';
    this.status = status;
    this.code = code;
  }

  /** Whether the same request may be accepted later. */
  get retryable(): boolean {
    return this.status === 503 || this.status === 429;
  }
}

export interface HttpOptions {
  /** Base address without a trailing slash. */
  baseUrl: string;
  token: string;
  /** Called at each answer that really came from the orchestrator, whatever it says. */
  onContact(): void;
  /** Called at each refusal, before it is thrown. */
  onRefusal(refusal: OrchestratorRefusal): void;
}

export interface RequestOptions {
  /** Sent as it is: a JSON document. */
  body?: string;
  headers?: Record<string, string>;
  /** Milliseconds for the whole exchange. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  /** More bytes than this are an error. */
  maxBytes?: number;
}

const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/**
 * HTTP to the orchestrator over kept-alive connections of our own: never through the session's proxy, and
 * without loading the machinery of `fetch` (some megabytes in each worker).
 */
export class OrchestratorHttp {
  readonly #options: HttpOptions;
  readonly #base: URL;
  readonly #agent: http.Agent;

  constructor(options: HttpOptions) {
    this.#options = options;
    this.#base = new URL(options.baseUrl);
    const settings = { keepAlive: true, maxSockets: 8, keepAliveMsecs: 15_000 };
    this.#agent = this.#base.protocol === 'https:' ? new https.Agent(settings) : new http.Agent(settings);
  }

  /** @throws OrchestratorUnreachable, OrchestratorRefusal, or the signal's reason */
  async json(method: string, path: string, options: RequestOptions): Promise<unknown> {
    const { status, body } = await this.#exchange(method, path, options);
    const parsed = parseObject(body);
    if (status >= 200 && status < 300 && parsed) {
      this.#options.onContact();
      return parsed;
    }
    throw this.#failure(status, parsed);
  }

  /** The bytes of a file. Errors as for `json`. */
  async bytes(path: string, options: RequestOptions): Promise<Buffer> {
    const { status, body } = await this.#exchange('GET', path, options);
    if (status === 200) {
      this.#options.onContact();
      return body;
    }
    throw this.#failure(status, parseObject(body));
  }

  close(): void {
    this.#agent.destroy();
  }

  #failure(status: number, body: Record<string, unknown> | undefined): Error {
    const code = body?.code;
    // A 5xx without our error body comes from something in between, and says nothing about the orchestrator.
    if (typeof code !== 'string') {
      return status >= 400 && status < 500
        ? new OrchestratorRefusal(status, `http_${status}`, `the orchestrator answered ${status}`)
        : new OrchestratorUnreachable(`an answer of ${status} that is not the orchestrator's`);
    }
    this.#options.onContact();
    const refusal = new OrchestratorRefusal(status, code, String(body?.reason ?? code));
    this.#options.onRefusal(refusal);
    return refusal;
  }

  #exchange(
    method: string,
    path: string,
    options: RequestOptions,
  ): Promise<{ status: number; body: Buffer }> {
    const headers: Record<string, string | number> = {
      'x-webhook-secret': this.#options.token,
      accept: 'application/json',
      ...options.headers,
    };
    if (options.body !== undefined) {
      headers['content-type'] = 'application/json';
      headers['content-length'] = Buffer.byteLength(options.body);
    }
    const { request } = this.#base.protocol === 'https:' ? https : http;
    const prefix = this.#base.pathname === '/' ? '' : this.#base.pathname;
    return new Promise((resolve, reject) => {
      const { signal } = options;
      if (signal?.aborted) return reject(signal.reason as Error);
      const sent = request({
        host: this.#base.hostname.replace(/^\[|\]$/g, ''),
        port: this.#base.port || undefined,
        method,
        path: prefix + path,
        headers,
        agent: this.#agent,
      });
      const onAbort = () => sent.destroy(signal?.reason as Error);
      const late = new OrchestratorUnreachable(`no answer in ${options.timeoutMs} ms`);
      const timer = setTimeout(() => sent.destroy(late), options.timeoutMs);
      // Nothing of it stays behind: the signals outlive thousands of requests.
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      };
      const fail = (error: unknown) => {
        done();
        if (signal?.aborted) reject(signal.reason as Error);
        else if (error instanceof OrchestratorUnreachable) reject(error);
        else reject(new OrchestratorUnreachable(messageOf(error), { cause: error }));
      };
      signal?.addEventListener('abort', onAbort);
      sent.on('error', fail);
      sent.on('response', (answer) => {
        const chunks: Buffer[] = [];
        let length = 0;
        answer.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > (options.maxBytes ?? MAX_ANSWER_BYTES))
            sent.destroy(new Error('the answer is too long'));
          else chunks.push(chunk);
        });
        answer.on('end', () => {
          done();
          resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks) });
        });
        answer.on('error', (error) => fail(sent.errored ?? error));
      });
      sent.end(options.body);
    });
  }
}

function parseObject(body: Buffer): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(body.toString('utf8'));
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // Not JSON, so not ours; the caller decides by the status.
  }
}
