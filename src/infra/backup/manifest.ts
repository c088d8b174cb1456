import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { z } from 'zod';

/** A backup that is not whole, or not one. The message is one line for a person. */
export class BackupError extends Error {
  override readonly name = 'BackupError';
}

const manifestSchema = z.object({
  format: z.literal(1),
  version: z.string(),
  createdAt: z.string(),
  database: z.enum(['sqlite', 'postgres']),
  /** Tells whether an AUTH_ENCRYPTION_KEY is the one that the pairings in here need. */
  keyFingerprint: z.string(),
  /** Path within the backup → what it has to be. */
  files: z.record(z.string(), z.object({ bytes: z.number(), sha256: z.string() })),
});
export type Manifest = z.infer<typeof manifestSchema>;

const NAME = 'manifest.json';

export const fingerprintOf = (key: string): string =>
  createHash('sha256').update(key).digest('hex').slice(0, 16);

/** Describes every file that is there. */
export async function writeManifest(
  directory: string,
  facts: Omit<Manifest, 'format' | 'files'>,
): Promise<Manifest> {
  const files: Manifest['files'] = {};
  for (const path of await filesBelow(directory)) files[path] = await describe(join(directory, path));
  const manifest: Manifest = { format: 1, ...facts, files };
  await writeFile(join(directory, NAME), `${JSON.stringify(manifest, null, 2)}\n`, { mode: 0o600 });
  return manifest;
}

/** Reads it, and compares every file. @throws BackupError */
export async function checkBackup(directory: string): Promise<Manifest> {
  const text = await readFile(join(directory, NAME), 'utf8').catch(() => null);
  if (text === null) throw new BackupError(`${directory} is no backup: it has no ${NAME}.`);
  const parsed = manifestSchema.safeParse(parseJson(text));
  if (!parsed.success) throw new BackupError(`${join(directory, NAME)} cannot be understood.`);
  for (const [path, expected] of Object.entries(parsed.data.files)) {
    const found = await describe(join(directory, path)).catch(() => null);
    if (found === null) throw new BackupError(`The backup is not whole: ${path} is missing.`);
    if (found.sha256 !== expected.sha256)
      throw new BackupError(`The backup is damaged: ${path} has changed.`);
  }
  return parsed.data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

async function describe(path: string): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return { bytes: (await stat(path)).size, sha256: hash.digest('hex') };
}
