import type { Clock } from '../kernel/clock.ts';
import { toIso } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/log.ts';
import { AuthWriter } from './auth-writer.ts';
import type { WorkerConfig } from './config.ts';
import { EventReporter } from './event-reporter.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { Heartbeat, type HeartbeatTiming } from './heartbeat.ts';
import { type Command, OrchestratorClient, type StoredAuth } from './orchestrator-client.ts';
import { OrchestratorHttp, OrchestratorRefusal } from './orchestrator-http.ts';
import type {
  ProviderEnd,
  ProviderEvents,
  ProviderFactory,
  ProviderTiming,
  WhatsAppProvider,
} from './providers/provider.ts';
import { Receipts } from './receipts.ts';
import { retryDelayMs } from './retry-delay.ts';
import { SendLoop } from './send-loop.ts';

export interface WorkerDeps {
  config: WorkerConfig;
  createProvider: ProviderFactory;
  clock: Clock;
  log: Logger;
  timing?: Partial<ProviderTiming & HeartbeatTiming>;
}

const FIRST_RETRY_MS = 200;
/** From SIGTERM: for the send in flight, for what is still to be reported, and for the auth state. */
const SEND_GRACE_MS = 5_000;
const REPORT_GRACE_MS = 1_500;
const FLUSH_GRACE_MS = 1_500;

/** One session: its provider, its outbox, its heartbeat. Runs until it is stopped or has no way on. */
export class Worker {
  readonly #deps: WorkerDeps;
  readonly #http: OrchestratorHttp;
  readonly #client: OrchestratorClient;
  readonly #reporter: EventReporter;
  readonly #receipts: Receipts;
  /** Resolves once, with the code to exit with. */
  readonly ended: Promise<ExitCode>;
  readonly #abort = new AbortController();
  #end: (code: ExitCode) => void = () => undefined;
  #lastContactMs: number;
  #state = 'starting';
  #auth: AuthWriter | undefined;
  #provider: WhatsAppProvider | undefined;
  #loop: SendLoop | undefined;
  #heartbeat: Heartbeat | undefined;
  #stopping: Promise<void> | undefined;
  /** What the process will end with, once that is decided; the first decision holds. */
  #code: ExitCode | undefined;
  readonly #answering = new Set<Promise<void>>();

  constructor(deps: WorkerDeps) {
    const { config, clock, log } = deps;
    this.#deps = deps;
    this.#lastContactMs = clock.monotonicMs();
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#http = new OrchestratorHttp({
      baseUrl: config.orchestratorUrl,
      token: config.token,
      onContact: () => {
        this.#lastContactMs = clock.monotonicMs();
      },
      onRefusal: (refusal) => this.#onRefusal(refusal),
    });
    this.#client = new OrchestratorClient({ http: this.#http, sessionId: config.sessionId, clock });
    this.#reporter = new EventReporter({ client: this.#client, clock, log });
    this.#receipts = new Receipts(this.#reporter, clock);
  }

  /** For so long no orchestrator has answered. */
  get silentMs(): number {
    return this.#deps.clock.monotonicMs() - this.#lastContactMs;
  }

  /** Loads the auth state (waiting for the orchestrator if need be), connects, and starts to pull tasks. */
  async start(): Promise<void> {
    const { config, clock, log, timing } = this.#deps;
    const stored = await this.#loadAuth();
    if (!stored) return;
    const auth = new AuthWriter(stored, {
      client: this.#client,
      clock,
      log,
      onRefused: (refusal) => this.#fail(isGone(refusal) ? EXIT.stale : EXIT.authOutOfStep),
    });
    this.#auth = auth;
    const provider = await this.#deps.createProvider({
      config,
      auth,
      clock,
      log,
      events: this.#providerEvents(),
      confirmOwnership: () => this.#confirmOwnership(),
      currentVersion: () => this.#client.whatsappVersion(this.#abort.signal),
      ...(timing ? { timing } : {}),
    });
    if (this.#abort.signal.aborted) return await provider.stop();
    this.#provider = provider;
    const { sessionId } = config;
    const loop = new SendLoop({ sessionId, client: this.#client, provider, clock, log });
    this.#loop = loop;
    const heartbeat = new Heartbeat({
      client: this.#client,
      clock,
      log,
      lastContactMs: () => this.#lastContactMs,
      state: () => ({
        state: this.#state,
        sent: loop.sent,
        inFlight: loop.inFlight,
        rssBytes: process.memoryUsage.rss(),
      }),
      onCommands: (commands) => this.#onCommands(commands),
      onCutOff: () => provider.pause('the orchestrator is out of reach'),
      onBack: () => provider.resume(),
      ...(timing ? { timing } : {}),
    });
    this.#heartbeat = heartbeat;
    provider.start();
    loop.start();
    heartbeat.start();
  }

  /** Gives back what it holds and says goodbye; within 10 s, whatever hangs. */
  stop(code: ExitCode = EXIT.stopped): Promise<void> {
    this.#stopping ??= this.#stop(code);
    return this.#stopping;
  }

  async #stop(code: ExitCode): Promise<void> {
    const { log, clock } = this.#deps;
    this.#code ??= code;
    log.info({ inFlight: this.#loop?.inFlight ?? 0 }, 'stopping');
    this.#state = 'stopping';
    await this.#loop?.stop(SEND_GRACE_MS);
    await this.#provider?.stop();
    await this.#heartbeat?.stop();
    this.#receipts.flush();
    // Credentials of an account that is gone are not worth keeping, and the orchestrator wipes them.
    const stored = code === EXIT.loggedOut ? undefined : this.#auth?.flush().catch(() => undefined);
    await Promise.race([
      Promise.all([stored, ...this.#answering]),
      clock.sleep(FLUSH_GRACE_MS, this.#abort.signal).catch(() => undefined),
    ]);
    if (code === EXIT.stopped) this.#reporter.report('STATUS_CHANGE', { status: 'SHUTTING_DOWN' });
    await this.#reporter.flush(REPORT_GRACE_MS);
    this.#shut();
  }

  /** No goodbyes: closes everything at once. */
  #fail(code: ExitCode): void {
    if (this.#abort.signal.aborted) return;
    this.#code ??= code;
    this.#deps.log.warn({ code: this.#code }, 'ending at once');
    this.#shut();
  }

  #shut(): void {
    this.#abort.abort(new Error('the worker ends'));
    this.#auth?.stop();
    this.#reporter.stop();
    void this.#heartbeat?.stop();
    void this.#provider?.stop();
    void this.#loop?.stop(0);
    this.#http.close();
    this.#end(this.#code ?? EXIT.crashed);
  }

  async #loadAuth(): Promise<StoredAuth | undefined> {
    const { clock, log } = this.#deps;
    for (let attempt = 0; !this.#abort.signal.aborted; attempt += 1) {
      try {
        return await this.#client.loadAuth(this.#abort.signal);
      } catch (error) {
        if (this.#abort.signal.aborted) return undefined;
        if (error instanceof OrchestratorRefusal && !error.retryable) {
          log.error({ code: error.code, status: error.status }, 'the orchestrator refuses this worker');
          this.#fail(isGone(error) ? EXIT.stale : EXIT.unauthorized);
          return undefined;
        }
        if (attempt === 0) log.warn({ error: messageOf(error) }, 'waiting for the orchestrator');
        await clock
          .sleep(retryDelayMs(attempt + 1, FIRST_RETRY_MS), this.#abort.signal)
          .catch(() => undefined);
      }
    }
    return undefined;
  }

  #providerEvents(): ProviderEvents {
    const { log } = this.#deps;
    return {
      qr: (qrCode, expiresAt) => {
        this.#state = 'pairing';
        this.#reporter.report('QR_UPDATE', { qrCode, expiresAt: toIso(expiresAt) }, 'qr');
      },
      connected: (account) => {
        this.#state = 'connected';
        log.info({}, 'connected');
        this.#reporter.report('CONNECTED', { ...account });
      },
      reconnecting: (reason) => {
        this.#state = 'reconnecting';
        this.#reporter.report('STATUS_CHANGE', { status: 'RECONNECTING', reason });
      },
      receipt: (receipt) => this.#receipts.add(receipt),
      message: ({ timestamp, ...message }) =>
        this.#reporter.report('MESSAGE', { ...message, timestamp: toIso(timestamp * 1000) }),
      ended: (end) => void this.#onEnded(end),
    };
  }

  async #onEnded(end: ProviderEnd): Promise<void> {
    this.#deps.log.warn({ reason: end.reason, detail: end.detail }, 'the session has ended');
    if (end.reason === 'stale') return this.#fail(EXIT.stale);
    if (end.reason === 'failed') return this.#fail(EXIT.crashed);
    this.#state = 'logged_out';
    this.#reporter.report('STATUS_CHANGE', { status: 'LOGGED_OUT', reason: end.detail });
    await this.stop(EXIT.loggedOut);
  }

  #onRefusal(refusal: OrchestratorRefusal): void {
    if (isGone(refusal)) this.#fail(EXIT.stale);
    else if (refusal.status === 401) this.#fail(EXIT.unauthorized);
  }

  async #confirmOwnership(): Promise<'owner' | 'stale' | 'unknown'> {
    try {
      this.#onCommands(await this.#client.ping({ state: this.#state }, 3_000, this.#abort.signal));
      return 'owner';
    } catch (error) {
      return error instanceof OrchestratorRefusal && isGone(error) ? 'stale' : 'unknown';
    }
  }

  #onCommands(commands: Command[]): void {
    for (const command of commands) {
      const answer = this.#carryOut(command).finally(() => this.#answering.delete(answer));
      this.#answering.add(answer);
    }
  }

  async #carryOut(command: Command): Promise<void> {
    const { log } = this.#deps;
    let result: Record<string, unknown>;
    try {
      result = await this.#answer(command);
    } catch (error) {
      result = { ok: false, reason: messageOf(error).slice(0, 500) };
    }
    log.info({ command: command.type, ok: result.ok }, 'command carried out');
    await this.#client
      .commandResult(command.id, result)
      .catch((error: unknown) => log.warn({ error: messageOf(error) }, 'a command cannot be answered'));
  }

  async #answer(command: Command): Promise<Record<string, unknown>> {
    const provider = this.#provider;
    if (!provider) throw new Error('the worker is starting');
    switch (command.type) {
      case 'pairing_code':
        if (!command.phone) throw new Error('`phone` is missing');
        return { ok: true, code: await provider.requestPairingCode(command.phone) };
      case 'logout':
        await provider.logout();
        return { ok: true };
      default:
        throw new Error(`unknown command ${command.type}`);
    }
  }
}

const GONE = new Set(['stale_epoch', 'unknown_session', 'session_not_found']);

/** Another worker has the session, or nobody has it any more. */
const isGone = ({ code }: OrchestratorRefusal): boolean => GONE.has(code);
