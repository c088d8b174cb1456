import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileTypeFromBuffer } from 'file-type';
import type { Clock } from '../../kernel/clock.ts';
import type { MediaFiles } from '../../services/media/ports.ts';

/** What `put` names its files: content hash and type. Other files in the directory are the operator's own. */
const OURS = /^[0-9a-f]{64}\.(jpg|png|webp)$/;
const UNFINISHED = /^\.put-/;
const LEAVING = /^\.leaving-([0-9a-f]{64}\.(?:jpg|png|webp))$/;
/** A plain, visible name: nothing that could leave the directory. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
const PLAIN_NAME = /^(?!\.)[^/\\\u0000-\u001f\u007f]{1,255}$/;
const SNIFF_BYTES = 4100;

/**
 * Files in one directory. Several processes may share it.
 * Removal goes over a hidden name, so that a file that is stored again at that moment is never lost.
 */
export function createFileMediaStore(dir: string, clock: Clock): MediaFiles {
  const pathOf = (name: string): string => join(dir, name);

  const isFresh = async (name: string, graceMs: number): Promise<boolean> => {
    const info = await unlessMissing(stat(pathOf(name)));
    return info !== null && clock.nowMs() - info.mtimeMs < graceMs;
  };

  const names = async (): Promise<string[]> => (await unlessMissing(readdir(dir))) ?? [];

  /** Decides about a file that nobody can open any more. */
  const settle = async (
    ref: string,
    graceMs: number,
    needed: (ref: string) => Promise<boolean>,
  ): Promise<boolean> => {
    const leaving = `.leaving-${ref}`;
    if ((await isFresh(leaving, graceMs)) || (await needed(ref))) {
      // The same bytes under the same name: it does not matter whether somebody stored them anew meanwhile.
      await unlessMissing(rename(pathOf(leaving), pathOf(ref)));
      return false;
    }
    await rm(pathOf(leaving), { force: true });
    return true;
  };

  return {
    async put(bytes, image) {
      await mkdir(dir, { recursive: true, mode: 0o700 });
      const ref = `${createHash('sha256').update(bytes).digest('hex')}.${image.extension}`;
      const unfinished = pathOf(`.put-${randomUUID()}`);
      try {
        const file = await open(unfinished, 'wx', 0o600);
        try {
          await file.writeFile(bytes);
          await file.sync();
        } finally {
          await file.close();
        }
        // Also if it is there: its age starts anew, and the sweep leaves it alone until its job is stored.
        await rename(unfinished, pathOf(ref));
      } catch (error) {
        await rm(unfinished, { force: true });
        throw error;
      }
      await syncDirectory(dir);
      return ref;
    },

    async has(ref) {
      if (!PLAIN_NAME.test(ref)) return false;
      return (await unlessMissing(stat(pathOf(ref))))?.isFile() ?? false;
    },

    async open(ref) {
      if (!PLAIN_NAME.test(ref)) return null;
      const file = await openFile(pathOf(ref));
      if (!file) return null;
      try {
        const info = await file.stat();
        if (!info.isFile()) {
          await file.close();
          return null;
        }
        const head = Buffer.alloc(Math.min(SNIFF_BYTES, info.size));
        await file.read(head, 0, head.length, 0);
        const type = await fileTypeFromBuffer(head);
        return {
          stream: file.createReadStream({ start: 0 }),
          bytes: info.size,
          contentType: type?.mime ?? 'application/octet-stream',
        };
      } catch (error) {
        await file.close();
        throw error;
      }
    },

    async idle(graceMs) {
      const idle: string[] = [];
      for (const name of await names()) {
        if (OURS.test(name) && !(await isFresh(name, graceMs))) idle.push(name);
      }
      return idle;
    },

    async remove(ref, graceMs, needed) {
      if (!OURS.test(ref)) return false;
      const moved = await unlessMissing(rename(pathOf(ref), pathOf(`.leaving-${ref}`)).then(() => true));
      return moved === true && settle(ref, graceMs, needed);
    },

    async tidy(graceMs, needed) {
      for (const name of await names()) {
        if (UNFINISHED.test(name) && !(await isFresh(name, graceMs))) {
          await rm(pathOf(name), { force: true });
        }
        const leaving = LEAVING.exec(name);
        if (leaving?.[1]) await settle(leaving[1], graceMs, needed);
      }
    },
  };
}

/** Without following a link: one that was planted in the directory must not lead out of it. */
async function openFile(path: string): Promise<FileHandle | null> {
  try {
    return await unlessMissing(open(path, constants.O_RDONLY | constants.O_NOFOLLOW));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ELOOP') return null;
    throw error;
  }
}

async function unlessMissing<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** A new name is durable only when its directory is. */
async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
