import type { Clock } from '../kernel/clock.ts';
import { messageOf } from '../kernel/errors.ts';
import type { Logger } from '../kernel/log.ts';
import type { ClaimedTask, NackOptions, OrchestratorClient } from './orchestrator-client.ts';
import { OrchestratorRefusal } from './orchestrator-http.ts';
import type { SendOutcome, WhatsAppProvider } from './providers/provider.ts';
import { retryDelayMs } from './retry-delay.ts';
import { type ReadTask, readTask } from './task.ts';

export interface SendLoopDeps {
  sessionId: string;
  client: Pick<OrchestratorClient, 'claim' | 'ack' | 'nack' | 'touch' | 'media'>;
  provider: WhatsAppProvider;
  clock: Clock;
  log: Logger;
}

const CLAIM_SECONDS = 20;
const FIRST_RETRY_MS = 200;
const ACKED_CAPACITY = 1_000;
/** For an ack or nack while the worker stops. */
const LAST_WORD_MS = 2_500;

/** Claims a task, sends it, confirms it; one at a time, and only while the session can send. */
export class SendLoop {
  readonly #deps: SendLoopDeps;
  /** Ends the claiming. */
  readonly #intake = new AbortController();
  /** Ends the send in flight, too. */
  readonly #giveUp = new AbortController();
  /** Ids that WhatsApp has confirmed to this process. */
  readonly #acked = new Set<string>();
  #running: Promise<void> | undefined;
  #inFlight = 0;
  #sent = 0;

  constructor(deps: SendLoopDeps) {
    this.#deps = deps;
  }

  get sent(): number {
    return this.#sent;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Claims nothing more; the send in flight has `graceMs` to finish, and is given back after that. */
  async stop(graceMs: number): Promise<void> {
    this.#intake.abort(new Error('the worker stops'));
    const given = new AbortController();
    await Promise.race([this.#running, this.#deps.clock.sleep(graceMs, given.signal).catch(() => undefined)]);
    given.abort();
    this.#giveUp.abort(new Error('the worker stops'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, log, provider } = this.#deps;
    let failures = 0;
    while (!this.#intake.signal.aborted) {
      try {
        await provider.whenConnected(this.#intake.signal);
        const claimed = await this.#claim();
        failures = 0;
        if (claimed) await this.#handle(claimed);
      } catch (error) {
        if (this.#intake.signal.aborted) return;
        if (!provider.connected) continue; // The poll was let go because the connection went.
        failures += 1;
        if (failures === 1) log.warn({ error: messageOf(error) }, 'no task can be claimed');
        await clock.sleep(retryDelayMs(failures, FIRST_RETRY_MS), this.#intake.signal).catch(() => undefined);
      }
    }
  }

  async #claim(): Promise<ClaimedTask | null> {
    const { client, provider } = this.#deps;
    const poll = new AbortController();
    const letGo = () => poll.abort(new Error('nothing can be sent now'));
    const ends = [this.#intake.signal, provider.connectionSignal()];
    for (const signal of ends) signal.addEventListener('abort', letGo);
    try {
      if (ends.some((signal) => signal.aborted)) letGo();
      return await client.claim(CLAIM_SECONDS, poll.signal);
    } finally {
      for (const signal of ends) signal.removeEventListener('abort', letGo);
    }
  }

  async #handle(claimed: ClaimedTask): Promise<void> {
    const { sessionId, log } = this.#deps;
    const task = readTask(sessionId, claimed.task, claimed.raw);
    if (!task.ok) {
      log.warn({ reason: task.reason }, 'a task is not one');
      return await this.#nack(claimed, { permanent: true, reason: task.reason });
    }
    const fields = { taskId: task.taskId, whatsappId: task.id, attempt: claimed.attempt };
    // Its ack got lost, or came too late: the message is out.
    if (this.#acked.has(task.id)) return await this.#ack(claimed, task.id);
    this.#inFlight += 1;
    const touching = new AbortController();
    try {
      void this.#keepLease(claimed, touching.signal);
      const outcome = await this.#send(task);
      log.debug({ ...fields, ...withoutText(outcome) }, 'sent');
      if (outcome.outcome !== 'accepted') log.info({ ...fields, ...outcome }, 'a message did not go out');
      await this.#settle(claimed, task.id, outcome);
    } finally {
      touching.abort();
      this.#inFlight -= 1;
    }
  }

  async #send(task: Extract<ReadTask, { ok: true }>): Promise<SendOutcome> {
    const { provider, client } = this.#deps;
    const { id, taskId, to, text, mediaRef } = task;
    const image =
      mediaRef === null
        ? null
        : { ref: mediaRef, load: (signal: AbortSignal) => client.media(mediaRef, signal) };
    return await provider.send({ id, taskId, to, text, image }, this.#giveUp.signal);
  }

  async #settle(claimed: ClaimedTask, id: string, outcome: SendOutcome): Promise<void> {
    switch (outcome.outcome) {
      case 'accepted':
        this.#sent += 1;
        this.#rememberAcked(id);
        return await this.#ack(claimed, id);
      case 'rejected':
        return await this.#nack(claimed, { permanent: true, reason: `${outcome.code}: ${outcome.reason}` });
      case 'unknown':
        return await this.#nack(claimed, { reason: outcome.reason, delayMs: outcome.delayMs ?? 0 });
      case 'unavailable':
        return await this.#nack(claimed, { reason: outcome.reason, delayMs: 0, countAttempt: false });
    }
  }

  #rememberAcked(id: string): void {
    this.#acked.add(id);
    const oldest = this.#acked.values().next();
    if (this.#acked.size > ACKED_CAPACITY && !oldest.done) this.#acked.delete(oldest.value);
  }

  async #ack(claimed: ClaimedTask, id: string): Promise<void> {
    await this.#tell('ack', id, (signal) => this.#deps.client.ack(claimed, id, signal));
  }

  async #nack(claimed: ClaimedTask, options: NackOptions): Promise<void> {
    await this.#tell('nack', '', (signal) => this.#deps.client.nack(claimed, options, signal));
  }

  /**
   * Says it until it is heard. Without that the task would come back when its lease runs out: correct, but late,
   * and a needless second message on the wire.
   */
  async #tell(what: string, id: string, call: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, log } = this.#deps;
    for (let attempt = 0; ; attempt += 1) {
      const last = this.#giveUp.signal.aborted;
      try {
        return await call(last ? AbortSignal.timeout(LAST_WORD_MS) : this.#giveUp.signal);
      } catch (error) {
        if (error instanceof OrchestratorRefusal && !error.retryable) {
          return log.warn({ what, whatsappId: id, code: error.code }, 'the outbox refused');
        }
        if (last)
          return log.warn({ what, whatsappId: id }, 'the outbox could not be told; the lease will end');
        if (attempt === 0)
          log.warn({ what, error: messageOf(error) }, 'the outbox cannot be told, trying on');
        await clock
          .sleep(retryDelayMs(attempt + 1, FIRST_RETRY_MS), this.#giveUp.signal)
          .catch(() => undefined);
      }
    }
  }

  async #keepLease(claimed: ClaimedTask, signal: AbortSignal): Promise<void> {
    const { client, clock, log } = this.#deps;
    while (!signal.aborted) {
      try {
        await clock.sleep(claimed.leaseMs / 3, signal);
        await client.touch(claimed, signal);
      } catch (error) {
        if (signal.aborted) return;
        log.debug({ error: messageOf(error) }, 'the lease could not be extended');
        if (error instanceof OrchestratorRefusal && error.code === 'claim_lost') return;
      }
    }
  }
}

const withoutText = ({ outcome }: SendOutcome) => ({ outcome });
