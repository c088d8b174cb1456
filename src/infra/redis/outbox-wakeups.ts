import type { Redis } from 'ioredis';
import { messageOf } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { WakeUps } from '../../services/outbox/ports.ts';
import { keys } from './keys.ts';

/**
 * Wake-ups over pub/sub: one connection that listens, and the command connection to publish.
 * Subscribes by itself as soon as somebody listens; ioredis subscribes again after a lost connection.
 */
export class RedisWakeUps implements WakeUps {
  readonly #redis: Redis;
  readonly #subscriber: Redis;
  readonly #log: Logger;
  readonly #listeners = new Set<(sessionId: string) => void>();
  #subscribed = false;

  constructor({ redis, subscriber, log }: { redis: Redis; subscriber: Redis; log: Logger }) {
    this.#redis = redis;
    this.#subscriber = subscriber;
    this.#log = log;
    subscriber.on('message', (channel: string, sessionId: string) => {
      if (channel !== keys.channelOutbox) return;
      for (const listener of this.#listeners) listener(sessionId);
    });
  }

  publish(sessionId: string): void {
    // Nobody waits for it: the sweep finds what a lost wake-up would have said.
    this.#redis.publish(keys.channelOutbox, sessionId).catch((error: unknown) => {
      this.#log.debug({ error: messageOf(error) }, 'wake-up not published');
    });
  }

  subscribe(onWake: (sessionId: string) => void): () => void {
    this.#listeners.add(onWake);
    if (!this.#subscribed) {
      this.#subscribed = true;
      this.#subscriber.subscribe(keys.channelOutbox).catch((error: unknown) => {
        this.#subscribed = false;
        this.#log.warn(
          { error: messageOf(error) },
          'cannot listen for wake-ups; polls are served by the sweep',
        );
      });
    }
    return () => this.#listeners.delete(onWake);
  }
}
