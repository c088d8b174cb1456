import { EventEmitter, once } from 'node:events';
import https from 'node:https';
import {
  type AuthenticationState,
  type BinaryNode,
  type ConnectionState,
  initAuthCreds,
  makeWASocket,
  type SignalDataSet,
  type SignalDataTypeMap,
  type UserFacingSocketConfig,
  WA_CERT_DETAILS,
  type WAMessage,
  type WAMessageUpdate,
  type WASocket,
} from '@whiskeysockets/baileys';
import { HttpsProxyAgent } from 'https-proxy-agent';
import { SocksProxyAgent } from 'socks-proxy-agent';
import { patient } from '../patience.ts';

/** What a client has to know of the network that it talks to. */
export interface ClientNetwork {
  wsUrl: string;
  rootKeyBase64: string;
  caPem: string;
}

const silent = {
  level: 'silent',
  child: () => silent,
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** Credentials and keys in memory: what a client keeps from one connection to the next. */
export function memoryAuth(): AuthenticationState {
  const store = new Map<string, unknown>();
  return {
    creds: initAuthCreds(),
    keys: {
      get: async <T extends keyof SignalDataTypeMap>(type: T, ids: string[]) => {
        const found: Record<string, SignalDataTypeMap[T]> = {};
        for (const id of ids) {
          const value = store.get(`${type}/${id}`);
          if (value !== undefined) found[id] = value as SignalDataTypeMap[T];
        }
        return found;
      },
      set: async (data: SignalDataSet) => {
        for (const [type, entries] of Object.entries(data)) {
          for (const [id, value] of Object.entries(entries ?? {})) {
            if (value === null) store.delete(`${type}/${id}`);
            else store.set(`${type}/${id}`, value);
          }
        }
      },
    },
  };
}

export interface ClientOptions {
  network: ClientNetwork;
  auth?: AuthenticationState;
  /** `http://…` or `socks5://…`; left out: a direct connection. */
  proxy?: string;
  config?: Partial<UserFacingSocketConfig>;
}

/**
 * One connection of an unmodified Baileys client, with what it said kept for looking at later.
 * It does not reconnect by itself: a test says when.
 */
export class BaileysClient {
  readonly auth: AuthenticationState;
  readonly sock: WASocket;
  readonly received: WAMessage[] = [];
  readonly updates: WAMessageUpdate[] = [];
  qr: string | undefined;
  /** The code that ended the connection. */
  closedWith: number | undefined;
  #state: 'connecting' | 'open' | 'close' = 'connecting';
  readonly #changed = new EventEmitter().setMaxListeners(0);

  constructor({ network, auth = memoryAuth(), proxy, config }: ClientOptions) {
    WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(network.rootKeyBase64, 'base64');
    this.auth = auth;
    const agent = proxy === undefined ? undefined : agentFor(proxy, network.caPem);
    this.sock = makeWASocket({
      waWebSocketUrl: network.wsUrl,
      auth,
      logger: silent,
      ...(agent && { agent }),
      fetchAgent: agent ?? new https.Agent({ ca: network.caPem }),
      ...config,
    });
    this.sock.ev.on('creds.update', (update) => Object.assign(auth.creds, update));
    this.sock.ev.on('connection.update', (update) => this.#connection(update));
    this.sock.ev.on('messages.upsert', ({ messages }) => {
      this.received.push(...messages);
      this.#changed.emit('change');
    });
    this.sock.ev.on('messages.update', (updates) => {
      this.updates.push(...updates);
      this.#changed.emit('change');
    });
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** The number that the client is paired with. */
  get phone(): string {
    return this.auth.creds.me?.id.split(/[:@]/)[0] ?? '';
  }

  /** Waits until `look` finds something. @throws Error after `timeoutMs`, naming what was waited for */
  async until<T>(what: string, look: () => T | undefined | false, timeoutMs = 8000): Promise<T> {
    const limit = AbortSignal.timeout(patient(timeoutMs));
    for (;;) {
      const found = look();
      if (found !== undefined && found !== false) return found;
      try {
        await once(this.#changed, 'change', { signal: limit });
      } catch {
        throw new Error(`waited ${timeoutMs} ms for ${what}; closed with ${this.closedWith}`);
      }
    }
  }

  open(): Promise<boolean> {
    return this.until('the connection to open', () => this.isOpen);
  }

  showQr(): Promise<string> {
    return this.until('a QR code', () => this.qr);
  }

  /** @returns the code that ended the connection */
  closed(timeoutMs?: number): Promise<number> {
    return this.until('the connection to end', () => this.closedWith, timeoutMs);
  }

  /**
   * The highest status that was reported for a message: 2 server ack, 3 delivered, 4 read; 0 an error.
   * A receipt or refusal that comes within 100 ms of the send is merged into the message's own `messages.upsert`.
   */
  statusOf(id: string): number | undefined {
    const updated = this.updates.flatMap(({ key, update }) => (key.id === id ? (update.status ?? []) : []));
    // Pending (1) is what a message starts with; anything else has come in since.
    const merged = this.received.flatMap(({ key, status }) =>
      key.id === id && status !== 1 ? (status ?? []) : [],
    );
    return updated.length + merged.length === 0 ? undefined : Math.max(...updated, ...merged);
  }

  /** Sends, and waits for the server's answer. @returns the id and the ack (undefined if none came) */
  async send(
    phone: string,
    content: Parameters<WASocket['sendMessage']>[1],
    options: { messageId?: string; ackTimeoutMs?: number } = {},
  ): Promise<{ id: string; ack: BinaryNode | undefined }> {
    const id =
      options.messageId ?? `3EB0${Math.random().toString(16).slice(2).toUpperCase().padEnd(18, '0')}`;
    const ack = this.#ackOf(id, options.ackTimeoutMs ?? 5000);
    // A connection that breaks rejects the wait while the send is still under way.
    ack.catch(() => undefined);
    await this.sock.sendMessage(`${phone}@s.whatsapp.net`, content, { messageId: id });
    return { id, ack: await ack };
  }

  /** Waits for the ack alone: `waitForMessage` also takes a receipt, which carries the same id. */
  #ackOf(id: string, timeoutMs: number): Promise<BinaryNode | undefined> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => resolve(undefined), timeoutMs);
      this.sock.ws.on(`TAG:${id}`, (node: BinaryNode) => {
        if (node.tag !== 'ack') return;
        clearTimeout(timer);
        resolve(node);
      });
      this.sock.ws.on('close', () => {
        clearTimeout(timer);
        reject(new Error('the connection closed before the ack'));
      });
    });
  }

  async end(): Promise<void> {
    if (this.closedWith === undefined) await this.sock.end(undefined);
  }

  #connection({ connection, qr, lastDisconnect }: Partial<ConnectionState>): void {
    if (qr) this.qr = qr;
    if (connection) this.#state = connection;
    if (connection === 'close') {
      const error = lastDisconnect?.error as { output?: { statusCode?: number } } | undefined;
      this.closedWith = error?.output?.statusCode ?? 0;
    }
    this.#changed.emit('change');
  }
}

/** Pairs a new client as a device of `phone` and logs it in. */
export async function pairedClient(
  options: ClientOptions & { phone: string; scan(phone: string, qr: string): unknown },
): Promise<BaileysClient> {
  const first = new BaileysClient(options);
  options.scan(options.phone, await first.showQr());
  const code = await first.closed();
  if (code !== 515) throw new Error(`pairing ended with ${code}, not with 515`);
  const client = new BaileysClient({ ...options, auth: first.auth });
  await client.open();
  return client;
}

function agentFor(proxy: string, ca: string): https.Agent {
  const made = proxy.startsWith('socks') ? new SocksProxyAgent(proxy) : new HttpsProxyAgent(proxy);
  // Both look at the options of each request for the certificates of the far end.
  Object.assign(made.options, { ca });
  return made as unknown as https.Agent;
}
