import type Docker from 'dockerode';
import type { Clock } from '../../../kernel/clock.ts';
import { FlotillaError, unavailable } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import type { EnsureOptions } from '../../../services/fleet/ports.ts';
import { reasonOf } from './engine-errors.ts';
import { PullProgress, type PullStep } from './pull-progress.ts';

const PROGRESS_EVERY_MS = 1000;
const PULL_TIMEOUT_MS = 15 * 60_000;

/** What a registry, or the engine on its behalf, says when trying again would end the same. */
const FINAL =
  /not found|does not exist|denied|unauthorized|(manifest|name) unknown|no basic auth|invalid reference|no matching/i;

interface Pull {
  /** Lets the engine give it up, too. */
  end: AbortController;
  done: Promise<void>;
  listeners: Set<(text: string) => void>;
  last: string;
}

/** Fetches images that an engine lacks, each once however many ask for it. */
export class ImagePull {
  readonly #docker: Docker;
  readonly #host: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #underWay = new Map<string, Pull>();

  /** @param docker without a limit on how long it may be silent */
  constructor(docker: Docker, host: string, clock: Clock, log: Logger) {
    this.#docker = docker;
    this.#host = host;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * @throws FlotillaError `image_missing`: it is not there and nowhere else; `image_unreachable`: it cannot be
   *   fetched now
   */
  async pull(image: string, { onProgress, signal }: EnsureOptions = {}): Promise<void> {
    const pull = this.#underWay.get(image) ?? this.#begin(image);
    if (onProgress) {
      pull.listeners.add(onProgress);
      onProgress(pull.last);
    }
    const givenUp = new Promise<never>((_, reject) => {
      const giveUp = (): void => reject(unavailable('runtime_closing', `The pull of ${image} was given up.`));
      if (signal?.aborted) giveUp();
      signal?.addEventListener('abort', giveUp, { once: true });
    });
    try {
      await Promise.race([pull.done, givenUp]);
    } finally {
      if (onProgress) pull.listeners.delete(onProgress);
    }
  }

  /** Gives up all that goes on. */
  close(): void {
    for (const { end } of this.#underWay.values()) end.abort();
  }

  #begin(image: string): Pull {
    const end = new AbortController();
    const pull: Pull = { end, done: Promise.resolve(), listeners: new Set(), last: `pulling ${image}` };
    pull.done = this.#pull(image, end, (text) => {
      pull.last = `pulling ${image}: ${text}`;
      for (const listener of pull.listeners) listener(pull.last);
    }).finally(() => this.#underWay.delete(image));
    // Whoever waited for it may have given up.
    pull.done.catch(() => undefined);
    this.#underWay.set(image, pull);
    return pull;
  }

  async #pull(image: string, enough: AbortController, say: (text: string) => void): Promise<void> {
    this.#log.info({ host: this.#host, image }, 'pulling the image of workers');
    try {
      await Promise.race([this.#follow(image, say, enough.signal), this.#tooLong(enough.signal)]);
      this.#log.info({ host: this.#host, image }, 'the image is there');
    } catch (error) {
      if (error instanceof FlotillaError) throw error;
      const why = reasonOf(error);
      throw unavailable(
        FINAL.test(why) ? 'image_missing' : 'image_unreachable',
        `Image ${image} is not on ${this.#host} and cannot be pulled: ${why}`,
      );
    } finally {
      enough.abort();
    }
  }

  /** @param signal aborted when it is over: the engine, too, gives up then */
  async #follow(image: string, say: (text: string) => void, signal: AbortSignal): Promise<void> {
    const options = { abortSignal: signal };
    const stream: NodeJS.ReadableStream = await this.#docker.pull(withTag(image), options);
    const progress = new PullProgress();
    let saidAt = Number.NEGATIVE_INFINITY;
    await new Promise<void>((resolve, reject) => {
      const onProgress = (step: PullStep): void => {
        if (step.error) return reject(new Error(step.error));
        progress.take(step);
        if (this.#clock.monotonicMs() - saidAt < PROGRESS_EVERY_MS) return;
        saidAt = this.#clock.monotonicMs();
        say(progress.text);
      };
      const onEnd = (error: Error | null): void => (error ? reject(error) : resolve());
      this.#docker.modem.followProgress(stream, onEnd, onProgress);
    });
  }

  async #tooLong(signal: AbortSignal): Promise<never> {
    try {
      await this.#clock.sleep(PULL_TIMEOUT_MS, signal);
    } catch {
      return await new Promise<never>(() => undefined);
    }
    throw new Error(`it took longer than ${PULL_TIMEOUT_MS / 60_000} minutes`);
  }
}

/** Without a tag the engine would fetch all that there are. */
const withTag = (image: string): string => (/[:@][^/]+$/.test(image) ? image : `${image}:latest`);
