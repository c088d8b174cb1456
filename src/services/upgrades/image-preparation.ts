import type { Clock } from '../../kernel/clock.ts';
import { FlotillaError, messageOf } from '../../kernel/errors.ts';
import type { ImageSource } from '../fleet/ports.ts';

/** `final`: it makes no sense to ask again without a person. */
export type Preparation =
  | { state: 'under way'; said: string | null }
  | { state: 'ready' }
  | { state: 'final'; reason: string };

interface Attempt {
  id: string;
  result: Preparation;
  /** When to ask again, by the monotonic clock; null while an answer is awaited. */
  againAt: number | null;
}

const RETRY_MS = 5000;
const FINAL = new Set(['invalid_image', 'image_missing', 'image_unreachable']);

/** Fetches an image beside everything else: it may take minutes, and a stop does not wait for it. */
export class ImagePreparation {
  readonly #images: Pick<ImageSource, 'prepareImage'>;
  readonly #clock: Clock;
  #attempt: Attempt | null = null;
  #abort = new AbortController();

  constructor(images: Pick<ImageSource, 'prepareImage'>, clock: Clock) {
    this.#images = images;
    this.#clock = clock;
  }

  /** Begins with the first call for an upgrade. An engine that does not answer is asked again for as long as it takes. */
  outcome(id: string, image: string): Preparation {
    const before = this.#attempt;
    if (before?.id === id) {
      const due = before.againAt !== null && this.#clock.monotonicMs() > before.againAt;
      return due ? this.#begin(id, image, before.result) : before.result;
    }
    return this.#begin(id, image, { state: 'under way', said: null });
  }

  /** Gives up what is under way. */
  forget(): void {
    this.#abort.abort();
    this.#attempt = null;
  }

  #begin(id: string, image: string, result: Preparation): Preparation {
    const attempt: Attempt = { id, result, againAt: null };
    this.#attempt = attempt;
    this.#abort = new AbortController();
    const onProgress = (said: string): void => {
      attempt.result = { state: 'under way', said };
    };
    this.#images.prepareImage(image, { onProgress, signal: this.#abort.signal }).then(
      () => {
        attempt.result = { state: 'ready' };
      },
      (error: unknown) => {
        const reason = messageOf(error);
        const isFinal = error instanceof FlotillaError && FINAL.has(error.code);
        attempt.result = isFinal ? { state: 'final', reason } : { state: 'under way', said: reason };
        attempt.againAt = this.#clock.monotonicMs() + RETRY_MS;
      },
    );
    return attempt.result;
  }
}
