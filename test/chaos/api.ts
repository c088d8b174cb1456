import { Agent, request } from 'undici';

export interface Answer {
  status: number;
  body: Record<string, unknown>;
}

/** The management API, over a link that may fail. */
export class Api {
  readonly #agent = new Agent({ connections: 64, pipelining: 1 });
  readonly #origin: string;
  readonly #key: string;
  readonly #header: string;
  readonly #timeoutMs: number;

  constructor(origin: string, key: string, { header = 'x-api-key', timeoutMs = 4000 } = {}) {
    this.#origin = origin;
    this.#key = key;
    this.#header = header;
    this.#timeoutMs = timeoutMs;
  }

  /** Once. Rejects when there is no answer in time. */
  async call(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const answer = await request(this.#origin + path, {
      method,
      dispatcher: this.#agent,
      signal: AbortSignal.timeout(this.#timeoutMs),
      headers: { [this.#header]: this.#key, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: answer.statusCode, body: (await answer.body.json()) as Record<string, unknown> };
  }

  /** As a client that wants it done: again and again while nothing answers or a dependency is down. Null: gave up. */
  async insist(
    method: 'GET' | 'POST',
    path: string,
    body: unknown,
    signal: AbortSignal,
    headers: Record<string, string> = {},
  ): Promise<Answer | null> {
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const answer = await this.call(method, path, body, headers);
        const isForLater = [503, 429].includes(answer.status) || answer.body.code === 'request_under_way';
        if (!isForLater) return answer;
      } catch {
        // No answer: it may have been done all the same, which is what keys and ids are for.
      }
      await new Promise((resolve) => setTimeout(resolve, Math.min(1000, 50 * 2 ** attempt)));
    }
    return null;
  }

  async upload(kind: 'profiles' | 'proxies', lines: readonly string[], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const form = new FormData();
      form.set('file', new Blob([lines.join('\n')], { type: 'text/plain' }), 'lines.txt');
      try {
        const answer = await fetch(`${this.#origin}/upload/${kind}`, {
          method: 'POST',
          headers: { 'x-api-key': this.#key },
          body: form,
        });
        if (answer.ok) return;
      } catch {
        // Not up yet.
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}
