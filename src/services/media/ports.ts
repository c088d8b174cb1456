import type { Readable } from 'node:stream';

/** An image that was recognised by its content. */
export interface ImageType {
  extension: 'jpg' | 'png' | 'webp';
  contentType: string;
}

/** Files by reference. A reference is a plain name; nothing outside the directory is ever opened. */
export interface MediaFiles {
  /** Stores bytes durably under a name that follows from them. @returns the reference */
  put(bytes: Uint8Array, image: ImageType): Promise<string>;
  has(ref: string): Promise<boolean>;
  /** @returns null if there is no such file */
  open(ref: string): Promise<{ stream: Readable; bytes: number; contentType: string } | null>;
  /** References stored by `put` that were not stored again for `graceMs`. */
  idle(graceMs: number): Promise<string[]>;
  /**
   * Removes a file unless it was stored again, or is needed after all, in the meantime.
   * @param needed asked again when nobody can open the file any more
   */
  remove(ref: string, graceMs: number, needed: (ref: string) => Promise<boolean>): Promise<boolean>;
  /** Removes what broken writes left behind, and puts back what a crash left half removed. */
  tidy(graceMs: number, needed: (ref: string) => Promise<boolean>): Promise<void>;
}

export interface MediaReferences {
  /** Which of these references a job or task still needs. */
  needed(refs: readonly string[]): Promise<Set<string>>;
}
