import type { Clock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/log.ts';
import type { Command, OrchestratorClient } from './orchestrator-client.ts';

export interface HeartbeatDeps {
  client: Pick<OrchestratorClient, 'ping'>;
  clock: Clock;
  log: Logger;
  /** When the orchestrator last answered, on the monotonic clock. */
  lastContactMs(): number;
  state(): Record<string, unknown>;
  onCommands(commands: Command[]): void;
  /** The orchestrator was out of reach for too long: it may have given the session to another worker. */
  onCutOff(): void;
  /** It answers again, and still knows us as the owner. */
  onBack(): void;
  timing?: Partial<HeartbeatTiming>;
}

/** Durations in milliseconds. */
export interface HeartbeatTiming {
  intervalMs: number;
  /** After this without an answer the worker cuts itself off. */
  fenceMs: number;
}

const TIMEOUT_MS = 3_000;
const RETRY_MS = 1_000;

/** Tells the orchestrator every few seconds that we live, and notices when it does not answer. */
export class Heartbeat {
  readonly #deps: HeartbeatDeps;
  readonly #intervalMs: number;
  readonly #fenceMs: number;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #cutOff = false;

  constructor(deps: HeartbeatDeps) {
    this.#deps = deps;
    this.#intervalMs = deps.timing?.intervalMs ?? 5_000;
    this.#fenceMs = deps.timing?.fenceMs ?? 10_000;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('the worker stops'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock } = this.#deps;
    while (!this.#stop.signal.aborted) {
      const answered = await this.#beat();
      this.#judge(answered);
      try {
        const untilFence = this.#cutOff ? RETRY_MS : Math.max(50, this.#fenceMs - this.#silentMs());
        const pause = answered ? this.#intervalMs : Math.min(RETRY_MS, untilFence);
        await clock.sleep(pause, this.#stop.signal);
      } catch {
        return; // Only the stop signal ends the sleep early.
      }
    }
  }

  async #beat(): Promise<boolean> {
    const { client, log, state, onCommands } = this.#deps;
    try {
      const timeoutMs = Math.min(TIMEOUT_MS, Math.max(500, this.#fenceMs - this.#silentMs()));
      const commands = await client.ping(state(), this.#cutOff ? TIMEOUT_MS : timeoutMs, this.#stop.signal);
      if (commands.length > 0) onCommands(commands);
      return true;
    } catch (error) {
      if (!this.#stop.signal.aborted)
        log.debug({ error: messageOf(error) }, 'the orchestrator did not answer');
      return false;
    }
  }

  #judge(answered: boolean): void {
    const { log, onCutOff, onBack } = this.#deps;
    if (this.#stop.signal.aborted) return;
    if (!this.#cutOff && this.#silentMs() > this.#fenceMs) {
      this.#cutOff = true;
      log.warn(
        { silentMs: Math.round(this.#silentMs()) },
        'the orchestrator is out of reach: closing WhatsApp',
      );
      onCutOff();
    } else if (this.#cutOff && answered) {
      this.#cutOff = false;
      log.info({}, 'the orchestrator is back');
      onBack();
    }
  }

  #silentMs(): number {
    return this.#deps.clock.monotonicMs() - this.#deps.lastContactMs();
  }
}
