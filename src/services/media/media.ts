import { notFound } from '../../kernel/errors.ts';
import type { Logger } from '../../kernel/log.ts';
import type { ImageType, MediaFiles, MediaReferences } from './ports.ts';

export interface MediaStoreDependencies {
  files: MediaFiles;
  references: MediaReferences;
  /** @throws FlotillaError `unsupported_image` */
  recognise(bytes: Uint8Array): Promise<ImageType>;
  log: Logger;
  /** A file that was stored less than this ago is left alone: its job may be on the way. */
  graceMs?: number;
}

/** Images by reference, for as long as a task needs them. */
export interface MediaStore {
  /** @returns the reference @throws FlotillaError `unsupported_image` */
  put(bytes: Uint8Array): Promise<string>;
  has(ref: string): Promise<boolean>;
  /** @throws FlotillaError `media_not_found` */
  open(ref: string): Promise<{
    stream: import('node:stream').Readable;
    bytes: number;
    contentType: string;
  }>;
  /** One pass: removes what no job or task needs. @returns how many files were removed */
  sweep(): Promise<number>;
}

const GRACE_MS = 10 * 60_000;
const REFS_PER_QUERY = 500;

export function createMediaStore(deps: MediaStoreDependencies): MediaStore {
  const { files, references, log } = deps;
  const graceMs = deps.graceMs ?? GRACE_MS;
  const isNeeded = async (ref: string): Promise<boolean> => (await references.needed([ref])).has(ref);

  return {
    put: async (bytes) => files.put(bytes, await deps.recognise(bytes)),
    has: (ref) => files.has(ref),

    async open(ref) {
      const file = await files.open(ref);
      if (!file) throw notFound('media_not_found', 'There is no such media file.');
      return file;
    },

    async sweep() {
      await files.tidy(graceMs, isNeeded);
      const idle = await files.idle(graceMs);
      let removed = 0;
      for (let at = 0; at < idle.length; at += REFS_PER_QUERY) {
        const batch = idle.slice(at, at + REFS_PER_QUERY);
        const needed = await references.needed(batch);
        for (const ref of batch) {
          if (!needed.has(ref) && (await files.remove(ref, graceMs, isNeeded))) removed += 1;
        }
      }
      if (removed > 0) log.info({ removed }, 'media files removed');
      return removed;
    },
  };
}
