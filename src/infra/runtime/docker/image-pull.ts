import type Docker from 'dockerode';
import type { Clock } from '../../../kernel/clock.ts';
import { FlotillaError, unavailable } from '../../../kernel/errors.ts';
import type { Logger } from '../../../kernel/log.ts';
import { reasonOf } from './engine-errors.ts';

const PROGRESS_EVERY_MS = 5000;
const PULL_TIMEOUT_MS = 15 * 60_000;

interface PullStep {
  id?: string;
  status?: string;
  error?: string;
}

/** Fetches images that an engine lacks, each once however many ask for it. */
export class ImagePull {
  readonly #docker: Docker;
  readonly #host: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #underWay = new Map<string, Promise<void>>();

  /** @param docker without a limit on how long it may be silent */
  constructor(docker: Docker, host: string, clock: Clock, log: Logger) {
    this.#docker = docker;
    this.#host = host;
    this.#clock = clock;
    this.#log = log;
  }

  /** @throws FlotillaError `image_missing`: it is not there and cannot be pulled */
  pull(image: string): Promise<void> {
    const present = this.#underWay.get(image);
    if (present) return present;
    const pulling = this.#pull(image).finally(() => this.#underWay.delete(image));
    this.#underWay.set(image, pulling);
    return pulling;
  }

  async #pull(image: string): Promise<void> {
    this.#log.info({ host: this.#host, image }, 'pulling the image of workers');
    const enough = new AbortController();
    try {
      await Promise.race([this.#follow(image), this.#tooLong(enough.signal)]);
      this.#log.info({ host: this.#host, image }, 'the image is there');
    } catch (error) {
      if (error instanceof FlotillaError) throw error;
      const why = reasonOf(error);
      throw unavailable(
        'image_missing',
        `Image ${image} is not on ${this.#host} and cannot be pulled: ${why}`,
      );
    } finally {
      enough.abort();
    }
  }

  async #follow(image: string): Promise<void> {
    const stream: NodeJS.ReadableStream = await this.#docker.pull(withTag(image));
    const layers = new Map<string, boolean>();
    let saidAt = this.#clock.monotonicMs();
    await new Promise<void>((resolve, reject) => {
      const onProgress = ({ id, status, error }: PullStep): void => {
        if (error) return reject(new Error(error));
        if (id) layers.set(id, status === 'Pull complete' || status === 'Already exists');
        if (this.#clock.monotonicMs() - saidAt < PROGRESS_EVERY_MS) return;
        saidAt = this.#clock.monotonicMs();
        const done = [...layers.values()].filter(Boolean).length;
        this.#log.info({ host: this.#host, image, layers: layers.size, done }, 'pulling');
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
