/** What passes through a proxy, and what came in beside all of them. */
export type ProxyKind = 'http' | 'socks5';

export interface ProxyRecord {
  readonly id: string;
  readonly kind: ProxyKind;
  /** With user and password, as a client takes it. */
  readonly url: string;
  /** TCP connections to the simulated WhatsApp. */
  connections: { now: number; max: number; total: number };
  /** Distinct devices that are logged in through it. */
  sessions: { now: number; max: number };
  /** Logged-in devices and clients that are being paired: every client, by its Noise key. */
  clients: { now: number; max: number };
  /** Requests to the media host. */
  media: number;
  wrongPasswords: number;
  /** Connections to anything but the simulated WhatsApp; always refused. */
  foreignTargets: number;
}

interface Entry {
  readonly record: ProxyRecord;
  /** Connections by client key, so that two connections of one client count as one client. */
  readonly sessions: Map<string, number>;
  readonly clients: Map<string, number>;
}

export class ProxyLedger {
  readonly #proxies = new Map<string, Entry>();
  readonly #byPort = new Map<number, string>();
  #dials = 0;
  #dialSettled = Promise.withResolvers<void>();
  /** Attempts that came through no proxy. */
  directAttempts = { chat: 0, media: 0 };
  /** Media uploads that came through another proxy than the session's chat connection. */
  mediaDetours = 0;

  addProxy(id: string, kind: ProxyKind, url: string): ProxyRecord {
    const record: ProxyRecord = {
      id,
      kind,
      url,
      connections: { now: 0, max: 0, total: 0 },
      sessions: { now: 0, max: 0 },
      clients: { now: 0, max: 0 },
      media: 0,
      wrongPasswords: 0,
      foreignTargets: 0,
    };
    this.#proxies.set(id, { record, sessions: new Map(), clients: new Map() });
    return record;
  }

  list(): ProxyRecord[] {
    return [...this.#proxies.values()].map(({ record }) => record);
  }

  record(proxy: string | undefined): ProxyRecord | undefined {
    return proxy === undefined ? undefined : this.#proxies.get(proxy)?.record;
  }

  /** A proxy begins to connect to the server; `dialled` or `dialFailed` must follow. */
  dialling(): void {
    this.#dials += 1;
  }

  /** A proxy's socket to the server is up; the server sees it come from `localPort`. */
  dialled(proxy: string, localPort: number): void {
    const record = this.record(proxy);
    if (record) {
      record.connections.now += 1;
      record.connections.total += 1;
      record.connections.max = Math.max(record.connections.max, record.connections.now);
      this.#byPort.set(localPort, proxy);
    }
    this.#settleDial();
  }

  dialFailed(): void {
    this.#settleDial();
  }

  hungUp(proxy: string, localPort: number): void {
    const record = this.record(proxy);
    if (record) record.connections.now -= 1;
    this.#byPort.delete(localPort);
  }

  /** The proxy whose open socket comes from that port, as far as is known now. */
  proxyOf(remotePort: number | undefined): string | undefined {
    return remotePort === undefined ? undefined : this.#byPort.get(remotePort);
  }

  /**
   * The proxy that a connection just accepted came through. The server may accept it before the proxy has heard that
   * it is up; but a port that nobody knows while no proxy is dialling belongs to none of them.
   */
  async attribute(remotePort: number | undefined): Promise<string | undefined> {
    while (this.proxyOf(remotePort) === undefined && this.#dials > 0) await this.#dialSettled.promise;
    return this.proxyOf(remotePort);
  }

  #settleDial(): void {
    this.#dials -= 1;
    this.#dialSettled.resolve();
    this.#dialSettled = Promise.withResolvers<void>();
  }

  enter(proxy: string | undefined, kind: 'sessions' | 'clients', client: string): void {
    const entry = proxy === undefined ? undefined : this.#proxies.get(proxy);
    if (!entry) return;
    entry[kind].set(client, (entry[kind].get(client) ?? 0) + 1);
    const count = entry.record[kind];
    count.now = entry[kind].size;
    count.max = Math.max(count.max, count.now);
  }

  leave(proxy: string | undefined, kind: 'sessions' | 'clients', client: string): void {
    const entry = proxy === undefined ? undefined : this.#proxies.get(proxy);
    if (!entry) return;
    const left = (entry[kind].get(client) ?? 0) - 1;
    if (left > 0) entry[kind].set(client, left);
    else entry[kind].delete(client);
    entry.record[kind].now = entry[kind].size;
  }

  /** Starts the counts anew; what is open now stays counted. */
  reset(): void {
    this.directAttempts = { chat: 0, media: 0 };
    this.mediaDetours = 0;
    for (const { record } of this.#proxies.values()) {
      for (const count of [record.connections, record.sessions, record.clients]) count.max = count.now;
      record.connections.total = record.connections.now;
      record.media = 0;
      record.wrongPasswords = 0;
      record.foreignTargets = 0;
    }
  }
}
