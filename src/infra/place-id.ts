import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The name of a data directory, made on its first use; it stays the same for all processes that follow there. */
export function placeId(dataDir: string): string {
  const path = join(dataDir, 'place-id');
  try {
    const known = readFileSync(path, 'utf8').trim();
    if (known !== '') return known;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const fresh = randomUUID();
  writeFileSync(path, `${fresh}\n`, { mode: 0o600 });
  return fresh;
}
