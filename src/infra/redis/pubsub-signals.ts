import type { Redis } from 'ioredis';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { EventSignal } from '../../services/events/ports.ts';
import type { FleetSignal } from '../../services/sessions/ports.ts';
import { keys } from './keys.ts';

export interface PubSubDeps {
  /** For publishing. */
  redis: Redis;
  /** A connection that only listens. */
  subscriber: Redis;
  log: Logger;
}

/** Calls between orchestrators. What gets lost is found by the next regular look. */
export class PubSubSignals implements EventSignal, FleetSignal {
  readonly #deps: PubSubDeps;
  readonly #listeners = new Map<string, Set<() => void>>();
  #wakeQueued = false;

  constructor(deps: PubSubDeps) {
    this.#deps = deps;
    deps.subscriber.on('message', (channel: string) => {
      for (const listener of this.#listeners.get(channel) ?? []) listener();
    });
  }

  async announce(): Promise<void> {
    await this.#deps.redis.publish(keys.channelEvents, '');
  }

  onAnnounce(listener: () => void): () => void {
    return this.#on(keys.channelEvents, listener);
  }

  /** Many calls within one turn of the loop are one message. */
  wake(): void {
    if (this.#wakeQueued) return;
    this.#wakeQueued = true;
    queueMicrotask(() => {
      this.#wakeQueued = false;
      this.#deps.redis.publish(keys.channelFleet, '').catch((error: unknown) => {
        this.#deps.log.debug({ error: messageOf(error) }, 'the fleet could not be called');
      });
    });
  }

  /** @returns unsubscribes */
  onWake(listener: () => void): () => void {
    return this.#on(keys.channelFleet, listener);
  }

  #on(channel: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(channel) ?? new Set();
    if (listeners.size === 0) {
      // ioredis subscribes again by itself after a reconnection.
      this.#deps.subscriber.subscribe(channel).catch((error: unknown) => {
        this.#deps.log.warn({ channel, error: messageOf(error) }, 'a channel could not be subscribed to');
      });
    }
    listeners.add(listener);
    this.#listeners.set(channel, listeners);
    return () => void listeners.delete(listener);
  }
}
