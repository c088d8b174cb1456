import { hasWorker, SESSION_STATES } from '../../domain/session-state.ts';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { Heartbeats, SessionStore } from '../sessions/ports.ts';
import type { SessionStates } from '../sessions/session-states.ts';
import type { LeftWorker } from './ports.ts';

export interface GoneWorkersDeps {
  heartbeats: Pick<Heartbeats, 'forget'>;
  store: Pick<SessionStore, 'find'>;
  states: Pick<SessionStates, 'enter'>;
  log: Logger;
}

/**
 * Says of workers that only this process could see that they are gone, so that whoever leads need not wait for their
 * silence to become long. If it cannot be said, it waits.
 */
export class GoneWorkers {
  readonly #deps: GoneWorkersDeps;

  constructor(deps: GoneWorkersDeps) {
    this.#deps = deps;
  }

  /** Of workers that were stopped in order. */
  async forget(sessionIds: readonly string[]): Promise<void> {
    await this.#say(sessionIds.map((sessionId) => this.#deps.heartbeats.forget(sessionId)));
  }

  /** Of workers that ended with the process that had started them. A session that runs elsewhere since is left alone. */
  async giveUp(workers: readonly LeftWorker[]): Promise<void> {
    await this.#say(workers.map((worker) => this.#giveUp(worker)));
  }

  async #giveUp({ sessionId, epoch }: LeftWorker): Promise<void> {
    const { heartbeats, store, states } = this.#deps;
    if ((await store.find(sessionId))?.epoch !== epoch) return;
    await heartbeats.forget(sessionId);
    await states.enter(sessionId, 'pending', {
      reason: 'the worker ended with its orchestrator',
      from: SESSION_STATES.filter(hasWorker),
      guard: { desired: 'running', epoch },
    });
  }

  async #say(all: Promise<unknown>[]): Promise<void> {
    try {
      await Promise.all(all);
    } catch (error) {
      this.#deps.log.debug({ error: messageOf(error) }, 'the end of workers could not be noted');
    }
  }
}
