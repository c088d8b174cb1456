import type { Clock } from '../../kernel/clock.ts';
import { FlotillaError } from '../../kernel/errors.ts';
import type { ImageSource } from '../fleet/ports.ts';

const RETRY_MS = 5000;

/** Fetches an image beside everything else: it may take minutes, and a stop does not wait for it. */
export class ImagePreparation {
  readonly #images: Pick<ImageSource, 'prepareImage'>;
  readonly #clock: Clock;
  #current: { id: string; outcome: 'under way' | 'ready' | Error; endedAt: number } | null = null;

  constructor(images: Pick<ImageSource, 'prepareImage'>, clock: Clock) {
    this.#images = images;
    this.#clock = clock;
  }

  /** Begins with the first call for an upgrade. An engine that does not answer is asked again for as long as it takes. */
  outcome(id: string, image: string): 'under way' | 'ready' | Error {
    if (this.#current?.id !== id) this.#begin(id, image);
    const current = this.#current;
    if (!(current?.outcome instanceof Error)) return current?.outcome ?? 'under way';
    const final = current.outcome instanceof FlotillaError && FINAL.has(current.outcome.code);
    if (final) return current.outcome;
    if (this.#clock.monotonicMs() - current.endedAt > RETRY_MS) this.#begin(id, image);
    return 'under way';
  }

  forget(): void {
    this.#current = null;
  }

  #begin(id: string, image: string): void {
    const current = { id, outcome: 'under way' as 'under way' | 'ready' | Error, endedAt: 0 };
    this.#current = current;
    const end = (outcome: 'ready' | Error): void => {
      current.outcome = outcome;
      current.endedAt = this.#clock.monotonicMs();
    };
    this.#images.prepareImage(image).then(
      () => end('ready'),
      (error: unknown) => end(error instanceof Error ? error : new Error(String(error))),
    );
  }
}

const FINAL = new Set(['invalid_image', 'image_missing']);
