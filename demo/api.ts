/** The orchestrator's HTTP API as the demo uses it: a client like any other. */
export interface DemoSession {
  id: string;
  phone: string | null;
  state: string;
  proxy: string | null;
  reason: string | null;
}

export interface DemoJob {
  state: string;
  totals: Record<'queued' | 'sent' | 'delivered' | 'read' | 'failed' | 'cancelled', number>;
  waitingFor: string | null;
}

export interface DemoTask {
  id: string;
  sessionId: string;
  state: string;
  claimedAt: string | null;
  sentAt: string | null;
}

export class FleetApi {
  readonly #url: string;
  readonly #key: string;

  constructor(url: string, key: string) {
    this.#url = url;
    this.#key = key;
  }

  async upload(kind: 'profiles' | 'proxies', lines: string[]): Promise<number> {
    const form = new FormData();
    form.set('file', new Blob([`${lines.join('\n')}\n`], { type: 'text/plain' }), `${kind}.txt`);
    const { added } = await this.#call<{ added: number }>('POST', `/upload/${kind}`, form);
    return added;
  }

  async sessions(): Promise<DemoSession[]> {
    return (await this.#call<{ sessions: DemoSession[] }>('GET', '/api/sessions?limit=1000')).sessions;
  }

  async restart(sessionId: string): Promise<void> {
    await this.#call('POST', `/session/restart/${sessionId}`);
  }

  /** Null once the session is paired, or before it shows one. */
  async qr(sessionId: string): Promise<string | null> {
    const response = await this.#fetch('GET', `/api/sessions/${sessionId}/qr`);
    if (response.status === 404) return null;
    return ((await expectOk(response)) as { qr: string }).qr;
  }

  async postTexts(contacts: { name: string; phone: string }[], message: string): Promise<string> {
    return (await this.#call<{ jobId: string }>('POST', '/api/messages', { contacts, message })).jobId;
  }

  async postImage(contacts: { name: string; phone: string }[], image: Blob): Promise<string> {
    const form = new FormData();
    form.set('data', JSON.stringify({ contacts }));
    form.set('image', image, 'flag.png');
    return (await this.#call<{ jobId: string }>('POST', '/api/messages', form)).jobId;
  }

  async job(jobId: string): Promise<DemoJob> {
    return (await this.#call<{ job: DemoJob }>('GET', `/api/messages/${jobId}`)).job;
  }

  async tasks(jobId: string): Promise<DemoTask[]> {
    const all: DemoTask[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const query: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
      const page: { tasks: DemoTask[]; nextCursor: string | null } = await this.#call(
        'GET',
        `/api/messages/${jobId}/tasks?limit=500${query}`,
      );
      all.push(...page.tasks);
      cursor = page.nextCursor;
    }
    return all;
  }

  async #call<T>(method: string, path: string, body?: FormData | object): Promise<T> {
    return (await expectOk(await this.#fetch(method, path, body))) as T;
  }

  #fetch(method: string, path: string, body?: FormData | object): Promise<Response> {
    const json = body && !(body instanceof FormData);
    return fetch(`${this.#url}${path}`, {
      method,
      headers: { 'x-api-key': this.#key, ...(json ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { body: json ? JSON.stringify(body) : body } : {}),
    });
  }
}

async function expectOk(response: Response): Promise<unknown> {
  const body: unknown = await response.json();
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}: ${JSON.stringify(body)}`);
  return body;
}
