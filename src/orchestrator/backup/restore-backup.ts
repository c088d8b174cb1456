import { existsSync } from 'node:fs';
import { chmod, copyFile, cp, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { restorePostgres } from '../../infra/backup/database-copy.ts';
import { BackupError, checkBackup, fingerprintOf, type Manifest } from '../../infra/backup/manifest.ts';
import { makeDirectory } from '../../infra/make-directory.ts';
import { lockDataDirectory } from '../../infra/single-instance.ts';
import type { Config } from '../config.ts';

export interface RestoreReport {
  manifest: Manifest;
  /** What is left for a person, as one sentence; null for nothing. */
  left: string | null;
}

/**
 * Puts a backup where a fleet is to start from: an empty data directory, an empty database. Nothing is overwritten.
 * A Redis that is not ours has to be given its files by a person.
 * @throws BackupError, AlreadyRunningError
 */
export async function restoreBackup(config: Config, directory: string): Promise<RestoreReport> {
  const manifest = await checkBackup(directory);
  const lock = lockDataDirectory(config.dataDir);
  try {
    refuseOther(config, manifest);
    const secretsFile = join(config.dataDir, 'secrets.json');
    const redisDir = join(config.dataDir, 'redis', 'appendonlydir');
    const sqlite = config.databaseUrl === null ? config.dbPath : null;
    for (const path of [secretsFile, redisDir, sqlite]) {
      if (path !== null && existsSync(path)) {
        throw new BackupError(`${path} is there already: restore into a data directory that is empty.`);
      }
    }
    const kept = join(directory, 'secrets.json');
    await refuseOtherKey(config, manifest, kept);
    if (existsSync(kept)) {
      await copyFile(kept, secretsFile);
      await chmod(secretsFile, 0o600);
    }
    await restoreDatabase(config, directory);
    const media = join(directory, 'media');
    if (existsSync(media)) await cp(media, config.mediaDir, { recursive: true });
    return { manifest, left: await restoreRedis(config, directory, redisDir) };
  } finally {
    lock.release();
  }
}

function refuseOther({ databaseUrl }: Config, { database }: Manifest): void {
  const here = databaseUrl === null ? 'sqlite' : 'postgres';
  if (here !== database) {
    throw new BackupError(`The backup is of ${database}, and this fleet is set to ${here} (DATABASE_URL).`);
  }
}

/** With another key the sessions would come back, and none of their pairings could be read. */
async function refuseOtherKey(config: Config, { keyFingerprint }: Manifest, kept: string): Promise<void> {
  const key = config.authEncryptionKey ?? (await keyIn(kept));
  if (key === null) throw new BackupError('AUTH_ENCRYPTION_KEY is missing: the backup has none in it.');
  if (fingerprintOf(key) !== keyFingerprint) {
    throw new BackupError('AUTH_ENCRYPTION_KEY is another one than the fleet had that this is a backup of.');
  }
}

async function keyIn(secretsFile: string): Promise<string | null> {
  if (!existsSync(secretsFile)) return null;
  const { authEncryptionKey } = JSON.parse(await readFile(secretsFile, 'utf8')) as {
    authEncryptionKey?: string;
  };
  return authEncryptionKey ?? null;
}

async function restoreDatabase(config: Config, directory: string): Promise<void> {
  if (config.databaseUrl !== null) {
    await restorePostgres(config.databaseUrl, join(directory, 'database.dump'), config.searchPath);
    return;
  }
  makeDirectory(dirname(config.dbPath));
  await copyFile(join(directory, 'database.sqlite'), config.dbPath);
  await chmod(config.dbPath, 0o600);
}

async function restoreRedis(config: Config, directory: string, target: string): Promise<string | null> {
  const files = join(directory, 'redis', 'appendonlydir');
  if (!existsSync(files)) return null;
  if (config.redisUrl !== null) {
    return `REDIS_URL is set: before it starts, give that server ${files} as appendonlydir in its data directory. Without it, what SQL knows is put back, and profiles and proxies that no session holds have to be uploaded again.`;
  }
  await cp(files, target, { recursive: true });
  return null;
}
