import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { copySqlite, dumpPostgres } from '../../infra/backup/database-copy.ts';
import { fingerprintOf, type Manifest, writeManifest } from '../../infra/backup/manifest.ts';
import { copyRedis } from '../../infra/backup/redis-snapshot.ts';
import { makeDirectory } from '../../infra/make-directory.ts';
import { managedRedisUrl } from '../../infra/redis/managed-server.ts';
import { AlreadyRunningError, type InstanceLock, lockDataDirectory } from '../../infra/single-instance.ts';
import { type Clock, toIso } from '../../kernel/clock.ts';
import type { Config } from '../config.ts';
import { loadSecrets } from '../secrets-file.ts';

export interface BackupOptions {
  config: Config;
  /** Gets a directory of its own for this backup. */
  target: string;
  version: string;
  clock: Clock;
}

/**
 * Copies all that a fleet needs to live on elsewhere, while it runs.
 *
 * Redis comes first: what SQL learns later than that is put right at the next start, from SQL (`services/restoration`).
 * The other way round, a message that was sent in between would be queued again. Media comes before SQL and after it,
 * so that no image which the copy of SQL names was missed.
 * @returns the directory; it has its name only when all is there
 */
export async function createBackup(
  options: BackupOptions,
): Promise<{ directory: string; manifest: Manifest }> {
  const { config, target, version, clock } = options;
  const secrets = loadSecrets(config);
  const createdAt = toIso(clock.nowMs());
  const directory = join(target, `flotilla-${createdAt.replaceAll(/[-:]|\.\d+/g, '')}`);
  const partial = `${directory}.partial`;
  makeDirectory(target);
  await mkdir(partial, { mode: 0o700 });
  try {
    await copyRedisOf(config, join(partial, 'redis'));
    await copyMedia(config.mediaDir, join(partial, 'media'));
    if (config.databaseUrl === null) await copySqlite(config.dbPath, join(partial, 'database.sqlite'));
    else await dumpPostgres(config.databaseUrl, join(partial, 'database.dump'), config.searchPath);
    await copyMedia(config.mediaDir, join(partial, 'media'));
    if (secrets.file) await cp(secrets.file, join(partial, 'secrets.json'));
    const manifest = await writeManifest(partial, {
      version,
      createdAt,
      database: config.databaseUrl === null ? 'sqlite' : 'postgres',
      keyFingerprint: fingerprintOf(secrets.authEncryptionKey),
    });
    await rename(partial, directory);
    return { directory, manifest };
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

/** A server of our own ends with its orchestrator: then nobody writes to its files, and they are copied as they are. */
async function copyRedisOf(config: Config, directory: string): Promise<void> {
  if (config.redisUrl !== null) {
    await copyRedis(config.redisUrl, directory);
    return;
  }
  const lock = lockUnlessRunning(config.dataDir);
  if (lock === null) {
    const url = await managedRedisUrl(config.dataDir);
    if (url !== undefined) await copyRedis(url, directory);
    return;
  }
  try {
    const files = join(config.dataDir, 'redis', 'appendonlydir');
    if (existsSync(files)) await cp(files, join(directory, 'appendonlydir'), { recursive: true });
  } finally {
    lock.release();
  }
}

function lockUnlessRunning(dataDir: string): InstanceLock | null {
  try {
    return lockDataDirectory(dataDir);
  } catch (error) {
    if (error instanceof AlreadyRunningError) return null;
    throw error;
  }
}

/** Files are never changed, so those that are there need no second look. One may go meanwhile: its message has ended. */
async function copyMedia(from: string, to: string): Promise<void> {
  makeDirectory(to);
  const names = await readdir(from).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  for (const name of names) {
    if (existsSync(join(to, name))) continue;
    try {
      await cp(join(from, name), join(to, name), { recursive: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}
