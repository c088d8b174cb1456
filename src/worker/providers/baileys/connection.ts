import {
  type AuthenticationState,
  DEFAULT_CONNECTION_CONFIG,
  makeWASocket,
  type proto,
  type WAMessage,
  type WASocket,
} from '@whiskeysockets/baileys';
import type { Clock } from '../../../kernel/clock.ts';
import { isAbortError } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import type { ProviderTiming } from '../provider.ts';
import { causeOf, causeOfAnswer, type EndCause } from './end-cause.ts';
import { baileysLogger } from './logger.ts';
import type { ProxyAgents } from './proxy-agents.ts';
import { type RawReceipt, ServerAcks } from './server-acks.ts';

export interface ConnectionDeps {
  state: AuthenticationState;
  saveCreds(): void;
  agents: ProxyAgents;
  webSocketUrl: string | null;
  version: [number, number, number] | null;
  browser: [string, string, string];
  clock: Clock;
  log: Logger;
  timing: ProviderTiming;
  /** The content of a message that was sent earlier, for a recipient who could not read it. */
  sentMessage(id: string): proto.IMessage | undefined;
  onQr(code: string, livesMs: number): void;
  onOpen(): void;
  onReceipt(receipt: RawReceipt): void;
  onMessage(message: WAMessage): void;
}

/** How long WhatsApp accepts the first QR code of a connection, and each one after it. */
const FIRST_QR_MS = 60_000;
const NEXT_QR_MS = 20_000;

/** One connection to WhatsApp, from its first byte to its last. It is never opened again. */
export class Connection {
  readonly sock: WASocket;
  readonly acks: ServerAcks;
  /** Resolves once, with the reason. */
  readonly closed: Promise<EndCause>;
  readonly #clock: Clock;
  readonly #over = new AbortController();
  readonly #talking = new AbortController();
  #close: (cause: EndCause) => void = () => undefined;
  #open = false;
  #cause: EndCause | undefined;
  #openedAtMs: number | null = null;

  constructor(deps: ConnectionDeps) {
    this.#clock = deps.clock;
    this.closed = new Promise((resolve) => {
      this.#close = resolve;
    });
    const { agents, timing } = deps;
    this.sock = makeWASocket({
      auth: deps.state,
      logger: baileysLogger(deps.log),
      browser: deps.browser,
      version: deps.version ?? DEFAULT_CONNECTION_CONFIG.version,
      ...(deps.webSocketUrl ? { waWebSocketUrl: deps.webSocketUrl } : {}),
      ...(agents.agent ? { agent: agents.agent } : {}),
      fetchAgent: agents.fetchAgent,
      options: { dispatcher: agents.dispatcher } as unknown as RequestInit,
      connectTimeoutMs: 20_000,
      defaultQueryTimeoutMs: 20_000,
      keepAliveIntervalMs: timing.keepAliveMs,
      // The store itself tries again for as long as it makes sense, so a second layer would only double the wait.
      transactionOpts: { maxCommitRetries: 1, delayBetweenTriesMs: 100 },
      // A sender needs no history; on a first login it would hold all events back for 20 s and fill the memory.
      syncFullHistory: false,
      shouldSyncHistoryMessage: () => false,
      shouldIgnoreJid: (jid) => jid.endsWith('@broadcast') || jid.endsWith('@newsletter'),
      markOnlineOnConnect: false,
      emitOwnEvents: false,
      generateHighQualityLinkPreview: false,
      getMessage: async (key) => (key.id ? deps.sentMessage(key.id) : undefined),
    });
    this.acks = new ServerAcks(this.sock.ws, deps.onReceipt);
    this.#listen(deps);
    void this.#watchOpening(deps);
  }

  /** Whether messages can be sent. */
  get open(): boolean {
    return this.#open;
  }

  /** Milliseconds for which it has been (or was) open. */
  get openForMs(): number {
    return this.#openedAtMs === null ? 0 : this.#clock.monotonicMs() - this.#openedAtMs;
  }

  /** Aborted when the connection ends. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /** Whether this worker closed it, rather than lost it. */
  get endedByUs(): boolean {
    return this.#cause?.kind === 'ours';
  }

  /** Ends it at once, without waiting for the other side. */
  end(cause: EndCause): void {
    if (this.#over.signal.aborted) return;
    this.#open = false;
    this.#cause = cause;
    this.#over.abort(new Error(cause.detail));
    this.#close(cause);
    void this.sock.end(undefined).catch(() => undefined);
    void this.#terminateLater();
  }

  #listen(deps: ConnectionDeps): void {
    const { sock } = this;
    sock.ev.on('creds.update', () => deps.saveCreds());
    // A proxy's 407 comes as an ordinary answer: neither `close` nor an error would follow.
    sock.ws.on('unexpected-response', (_request: unknown, answer: { statusCode?: number }) =>
      this.end(causeOfAnswer(answer.statusCode ?? 0)),
    );
    let qrCodes = 0;
    sock.ev.on('connection.update', (update) => {
      if (update.qr) {
        this.#talking.abort();
        deps.onQr(update.qr, qrCodes === 0 ? FIRST_QR_MS : NEXT_QR_MS);
        qrCodes += 1;
      }
      if (update.connection === 'open' && !this.#over.signal.aborted) {
        this.#talking.abort();
        this.#open = true;
        this.#openedAtMs = this.#clock.monotonicMs();
        deps.onOpen();
      }
      if (update.connection === 'close') this.end(causeOf(update.lastDisconnect?.error));
    });
    sock.ev.on('messages.upsert', ({ messages }) => {
      for (const message of messages) deps.onMessage(message);
    });
  }

  async #watchOpening({ clock, timing }: ConnectionDeps): Promise<void> {
    try {
      await clock.sleep(timing.openTimeoutMs, AbortSignal.any([this.#over.signal, this.#talking.signal]));
      const detail = `neither a QR code nor an open connection in ${timing.openTimeoutMs} ms`;
      this.end({ kind: 'watchdog', code: null, detail });
    } catch (error) {
      if (!this.#over.signal.aborted && !isAbortError(error)) throw error;
    }
  }

  /** A peer that is gone never answers the close frame; `ws` would keep the socket for half a minute. */
  async #terminateLater(): Promise<void> {
    await this.#clock.sleep(500);
    const { socket } = this.sock.ws as unknown as { socket: { terminate(): void } | null };
    socket?.terminate();
  }
}
