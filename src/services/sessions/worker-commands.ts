import { conflict, unavailable } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import type { CommandResult, WorkerCommand, WorkerMailbox } from './ports.ts';

/** A worker fetches its commands with a ping, every 10 s at the latest; then it has to act. */
const ANSWER_TIMEOUT_MS = 25_000;

/** Asks a worker for something and waits for its answer. */
export class WorkerCommands {
  readonly #mailbox: WorkerMailbox;
  readonly #answerTimeoutMs: number;

  constructor(mailbox: WorkerMailbox, answerTimeoutMs: number = ANSWER_TIMEOUT_MS) {
    this.#mailbox = mailbox;
    this.#answerTimeoutMs = answerTimeoutMs;
  }

  /** @returns a code like `ABCD-1234`. @throws FlotillaError 409 `pairing_code_refused`, 503 */
  async pairingCode(sessionId: string, phone: string, signal: AbortSignal): Promise<string> {
    const result = await this.#ask(sessionId, { id: newId('cmd'), type: 'pairing_code', phone }, signal);
    const letters = result.code?.replaceAll(/[^A-Za-z0-9]/g, '').toUpperCase() ?? '';
    if (!result.ok || letters.length !== 8) {
      const why = result.reason ?? 'it gave no code';
      throw conflict('pairing_code_refused', `The worker could not get a pairing code: ${why}.`);
    }
    return `${letters.slice(0, 4)}-${letters.slice(4)}`;
  }

  /** Resolves when the worker says that the device is unlinked. @throws FlotillaError 409, 503 */
  async logout(sessionId: string, signal: AbortSignal): Promise<void> {
    const result = await this.#ask(sessionId, { id: newId('cmd'), type: 'logout' }, signal);
    if (!result.ok) {
      const why = result.reason ?? 'it did not say why';
      throw conflict('logout_refused', `The worker could not unlink the device: ${why}.`);
    }
  }

  /** Leaves the request in the mailbox; the worker's LOGGED_OUT tells when it is done. */
  async requestLogout(sessionId: string, epoch: number): Promise<void> {
    await this.#mailbox.post(sessionId, { id: `logout-${epoch}`, type: 'logout' });
  }

  async #ask(sessionId: string, command: WorkerCommand, signal: AbortSignal): Promise<CommandResult> {
    await this.#mailbox.post(sessionId, command);
    const result = await this.#mailbox.result(sessionId, command.id, this.#answerTimeoutMs, signal);
    if (!result) {
      throw unavailable('worker_not_answering', 'The worker of this session did not answer in time.', {
        retryAfterSeconds: 10,
      });
    }
    return result;
  }
}
