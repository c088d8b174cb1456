import type { Redis } from 'ioredis';
import { messageOf } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import type { Logger } from '../../kernel/log.ts';
import type { WakeUps } from '../../services/outbox/ports.ts';
import { keys } from './keys.ts';

/**
 * Wake-ups: at once for who listens here, and over pub/sub for other processes, with one connection that listens, and
 * the command connection to publish. Subscribes by itself as soon as somebody listens; ioredis subscribes again after
 * a lost connection. A message is session ids with blanks between; ours begins with our own name, which to others is
 * one more id that nobody waits for.
 */
export class RedisWakeUps implements WakeUps {
  readonly #redis: Redis;
  readonly #subscriber: Redis;
  readonly #log: Logger;
  readonly #listeners = new Set<(sessionId: string) => boolean>();
  readonly #name = newId('wake');
  #subscribed = false;
  #unsaid: string[] = [];

  constructor({ redis, subscriber, log }: { redis: Redis; subscriber: Redis; log: Logger }) {
    this.#redis = redis;
    this.#subscriber = subscriber;
    this.#log = log;
    subscriber.on('message', (channel: string, text: string) => {
      if (channel !== keys.channelOutbox) return;
      const words = text.split(' ');
      if (words[0] !== this.#name) for (const word of words) this.here(word);
    });
  }

  /** Those of one turn of the loop are one message. */
  publish(sessionId: string): void {
    if (this.#unsaid.length === 0) queueMicrotask(() => this.#publishAll());
    this.#unsaid.push(sessionId);
  }

  #publishAll(): void {
    const sessionIds = this.#unsaid;
    this.#unsaid = [];
    for (const sessionId of sessionIds) this.here(sessionId);
    // Nobody waits for it: the sweep finds what a lost wake-up would have said.
    this.#redis
      .publish(keys.channelOutbox, `${this.#name} ${sessionIds.join(' ')}`)
      .catch((error: unknown) => {
        this.#log.debug({ error: messageOf(error) }, 'wake-up not published');
      });
  }

  here(sessionId: string): boolean {
    let waits = false;
    for (const listener of this.#listeners) waits = listener(sessionId) || waits;
    return waits;
  }

  subscribe(onWake: (sessionId: string) => boolean): () => void {
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
