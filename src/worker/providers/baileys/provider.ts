import { DEFAULT_CONNECTION_CONFIG, WA_CERT_DETAILS, type WAMessage } from '@whiskeysockets/baileys';
import { isAbortError, messageOf } from '../../../kernel/errors.ts';
import { Gate } from '../../gate.ts';
import {
  DEFAULT_TIMING,
  type OutgoingMessage,
  type ProviderDeps,
  type ProviderEnd,
  type ProviderTiming,
  type SendOutcome,
  type WhatsAppProvider,
} from '../provider.ts';
import { type BaileysAuth, createAuthState, forgetHalfPairing } from './auth-state.ts';
import { BuiltMessages } from './built-messages.ts';
import { Connection } from './connection.ts';
import { type EndCause, reasonOf } from './end-cause.ts';
import { SeenIds, toInbound } from './inbound.ts';
import { createProxyAgents, type ProxyAgents } from './proxy-agents.ts';
import { Recipients } from './recipients.ts';
import { type Decision, decide } from './reconnect.ts';
import { Sender } from './sender.ts';
import type { RawReceipt } from './server-acks.ts';

/** A connection that was open this long counts as a success: the next back-off starts from the beginning. */
const STABLE_MS = 30_000;

export async function createBaileysProvider(deps: ProviderDeps): Promise<WhatsAppProvider> {
  const { config } = deps;
  if (config.whatsappRootKey) WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(config.whatsappRootKey);
  const webSocketUrl = config.whatsappUrl ?? String(DEFAULT_CONNECTION_CONFIG.waWebSocketUrl);
  const agents = await createProxyAgents(config.proxyUrl, config.whatsappCa, webSocketUrl);
  return new BaileysProvider(deps, agents);
}

/** One Baileys connection after another, as `decide` says. */
class BaileysProvider implements WhatsAppProvider {
  readonly #deps: ProviderDeps;
  readonly #agents: ProxyAgents;
  readonly #timing: ProviderTiming;
  readonly #auth: BaileysAuth;
  readonly #built: BuiltMessages;
  readonly #sender: Sender;
  readonly #seen = new SeenIds();
  readonly #stop = new AbortController();
  /** Open while the worker may hold a connection at all. */
  readonly #allowed = new Gate(true);
  /** Open while messages can be sent. */
  readonly #sendable = new Gate(false);
  /** Open while a pairing code can be asked for. */
  readonly #pairable = new Gate(false);
  #connection: Connection | undefined;
  #running: Promise<void> | undefined;
  #version: [number, number, number] | null;
  #failures = 0;
  #replacedOnce = false;

  constructor(deps: ProviderDeps, agents: ProxyAgents) {
    this.#deps = deps;
    this.#agents = agents;
    this.#timing = { ...DEFAULT_TIMING, ...deps.timing };
    this.#auth = createAuthState(deps.auth);
    this.#version = deps.config.whatsappVersion;
    this.#built = new BuiltMessages(deps.auth, deps.clock);
    const { clock, log } = deps;
    const recipients = new Recipients(clock);
    this.#sender = new Sender({ built: this.#built, recipients, log, timing: this.#timing });
  }

  start(): void {
    this.#running ??= this.#run();
  }

  get connected(): boolean {
    return this.#sendable.isOpen;
  }

  async whenConnected(signal: AbortSignal): Promise<void> {
    await this.#sendable.whenOpen(signal);
  }

  connectionSignal(): AbortSignal {
    return this.#connection?.signal ?? AbortSignal.abort(new Error('not connected'));
  }

  async send(message: OutgoingMessage, signal: AbortSignal): Promise<SendOutcome> {
    const connection = this.#connection;
    if (!connection?.open) return { outcome: 'unavailable', reason: 'the session is not connected' };
    return await this.#sender.send(connection, message, signal);
  }

  async requestPairingCode(phone: string): Promise<string> {
    if (this.#auth.state.creds.account) throw new Error('the session is paired already');
    await this.#pairable.whenOpen(AbortSignal.any([this.#stop.signal, AbortSignal.timeout(15_000)]));
    if (!this.#connection) throw new Error('the session is not connected');
    const code = await this.#connection.sock.requestPairingCode(phone);
    return `${code.slice(0, 4)}-${code.slice(4)}`;
  }

  async logout(): Promise<void> {
    const connection = this.#connection;
    if (!connection?.open) throw new Error('the session is not connected');
    await connection.sock.logout();
    connection.end({ kind: 'server', code: 401, detail: 'logged out on request' });
  }

  pause(reason: string): void {
    this.#allowed.close();
    this.#connection?.end({ kind: 'ours', code: null, detail: reason });
  }

  resume(): void {
    this.#allowed.open();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('the worker stops'));
    this.#connection?.end({ kind: 'ours', code: null, detail: 'the worker stops' });
    // What it waits for may be the orchestrator, which may be away.
    await Promise.race([this.#running, this.#deps.clock.sleep(1_000)]);
  }

  async #run(): Promise<void> {
    const { events, log } = this.#deps;
    try {
      if (this.#version === null) this.#version = await this.#recommendedVersion();
      while (!this.#stop.signal.aborted) {
        await this.#allowed.whenOpen(this.#stop.signal);
        const cause = await this.#connectOnce();
        if (this.#stop.signal.aborted) return;
        const end = await this.#afterwards(cause);
        if (end) return events.ended(end);
      }
    } catch (error) {
      if (this.#stop.signal.aborted || isAbortError(error)) return;
      log.error({ error: messageOf(error) }, 'the provider failed');
      events.ended({ reason: 'failed', detail: messageOf(error) });
    }
  }

  /** @returns why it ended */
  async #connectOnce(): Promise<EndCause> {
    const { config, clock, log, events } = this.#deps;
    forgetHalfPairing(this.#auth.state.creds);
    const connection = new Connection({
      state: this.#auth.state,
      saveCreds: this.#auth.saveCreds,
      agents: this.#agents,
      webSocketUrl: config.whatsappUrl,
      version: this.#version,
      browser: config.browser,
      clock,
      log,
      timing: this.#timing,
      sentMessage: (id) => this.#built.message(id),
      onQr: (code, livesMs) => {
        this.#pairable.open();
        events.qr(code, clock.nowMs() + livesMs);
      },
      onOpen: () => this.#onOpen(connection),
      onReceipt: (receipt) => this.#onReceipt(receipt),
      onMessage: (message) => this.#onMessage(message),
    });
    this.#connection = connection;
    const cause = await connection.closed;
    this.#sendable.close();
    this.#pairable.close();
    this.#connection = undefined;
    if (connection.openForMs >= STABLE_MS) {
      this.#failures = 0;
      this.#replacedOnce = false;
    }
    if (cause.code !== 515 && cause.kind !== 'qr_expired') this.#failures += 1;
    log.info({ reason: reasonOf(cause), detail: cause.detail, failures: this.#failures }, 'connection ended');
    return cause;
  }

  /** Waits as long as the cause asks for. @returns the end, if there is no way on */
  async #afterwards(cause: EndCause): Promise<ProviderEnd | undefined> {
    const { events, clock, auth } = this.#deps;
    if (cause.kind === 'ours') {
      events.reconnecting(reasonOf(cause));
      this.#failures = 0;
      return undefined;
    }
    const decision = decide(cause, {
      failures: this.#failures,
      paired: Boolean(this.#auth.state.creds.account),
      backOffMinMs: this.#timing.backOffMinMs,
      backOffMaxMs: this.#timing.backOffMaxMs,
      random: Math.random(),
    });
    if (decision.action === 'logged_out') return { reason: 'logged_out', detail: reasonOf(cause) };
    // Between two QR codes nothing is lost that could be regained.
    if (cause.code !== 515 && cause.kind !== 'qr_expired') events.reconnecting(reasonOf(cause));
    // What pairing has changed must be safe before it is used to log in.
    await auth.flushed();
    return await this.#carryOut(decision, clock);
  }

  async #carryOut(
    decision: Exclude<Decision, { action: 'logged_out' }>,
    clock: ProviderDeps['clock'],
  ): Promise<ProviderEnd | undefined> {
    switch (decision.action) {
      case 'reconnect':
        await clock.sleep(decision.delayMs, this.#stop.signal);
        return undefined;
      case 'new_version':
        await this.#refreshVersion();
        await clock.sleep(decision.delayMs, this.#stop.signal);
        return undefined;
      case 'ask_owner':
        return await this.#afterReplaced(clock);
    }
  }

  /** Somebody else connected as this session: never fight for it. */
  async #afterReplaced(clock: ProviderDeps['clock']): Promise<ProviderEnd | undefined> {
    const { confirmOwnership, log } = this.#deps;
    for (;;) {
      const owner = await confirmOwnership();
      if (owner === 'stale') return { reason: 'stale', detail: 'another worker owns the session' };
      // A second time in a row, with the orchestrator still saying that it is ours: somebody outside has it.
      const delayMs = this.#timing.replacedDelayMs * (this.#replacedOnce ? 10 : 1);
      this.#replacedOnce = true;
      log.warn({ owner, delayMs }, 'the session was opened somewhere else');
      await clock.sleep(delayMs, this.#stop.signal);
      if (owner === 'owner') return undefined;
    }
  }

  async #refreshVersion(): Promise<void> {
    const { config, log } = this.#deps;
    const refused = this.#version;
    const version = await this.#recommendedVersion();
    if (version && String(version) !== String(refused)) this.#version = version;
    // Without a better one, take turns between the pinned or recommended version and the one that Baileys brings.
    else this.#version = refused === null ? (config.whatsappVersion ?? version) : null;
    log.warn(
      { refused: refused?.join('.') ?? 'built in', next: this.#version?.join('.') ?? 'built in' },
      'WhatsApp refused the web version',
    );
  }

  async #recommendedVersion(): Promise<[number, number, number] | null> {
    try {
      return await this.#deps.currentVersion();
    } catch (error) {
      if (!this.#stop.signal.aborted) {
        this.#deps.log.warn({ error: messageOf(error) }, 'the recommended web version is not to be had');
      }
      return null;
    }
  }

  #onOpen(connection: Connection): void {
    const user = connection.sock.user;
    const digits = (user?.id ?? '').split('@')[0]?.split(':')[0] ?? '';
    this.#deps.events.connected({ phoneNumber: digits, jid: `${digits}@s.whatsapp.net` });
    this.#sendable.open();
  }

  #onReceipt({ ids, status, atSeconds }: RawReceipt): void {
    const at = atSeconds === null ? this.#deps.clock.nowMs() : atSeconds * 1000;
    for (const whatsappId of ids) {
      this.#deps.events.receipt({ whatsappId, taskId: this.#built.taskIdOf(whatsappId), status, at });
    }
  }

  #onMessage(message: WAMessage): void {
    const inbound = toInbound(message);
    if (inbound && this.#seen.add(inbound.id)) this.#deps.events.message(inbound);
  }
}
