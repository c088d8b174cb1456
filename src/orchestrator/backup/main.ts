import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { checkBackup } from '../../infra/backup/manifest.ts';
import { systemClock } from '../../kernel/clock.ts';
import { messageOf } from '../../kernel/errors.ts';
import { loadConfig } from '../config.ts';
import { createBackup } from './create-backup.ts';
import { restoreBackup } from './restore-backup.ts';

const USAGE = 'backup [directory] | restore <backup> | verify <backup>';

/** Errors whose message is already the one line that a person needs. */
const EXPLAINED = new Set([
  'ConfigError',
  'BackupError',
  'DatabaseCopyError',
  'RedisSnapshotError',
  'AlreadyRunningError',
  'DataDirectoryError',
]);

async function main([command, path]: string[]): Promise<string> {
  if (command === 'verify' && path) {
    const { createdAt, version, files } = await checkBackup(resolve(path));
    return `whole: ${Object.keys(files).length} files of ${createdAt}, version ${version}`;
  }
  const config = loadConfig();
  if (command === 'restore' && path) {
    const { manifest, left } = await restoreBackup(config, resolve(path));
    return [
      `restored: the fleet of ${manifest.createdAt} into ${config.dataDir}`,
      ...(left ? [left] : []),
    ].join('\n');
  }
  if (command !== 'create') throw new Error(`usage: ${USAGE}`);
  const target = resolve(path ?? join(config.dataDir, 'backups'));
  const { directory, manifest } = await createBackup({
    config,
    target,
    version: version(),
    clock: systemClock,
  });
  const bytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0);
  const keys =
    'secrets.json' in manifest.files
      ? 'with its keys: keep it secret'
      : 'WITHOUT its keys: keep AUTH_ENCRYPTION_KEY apart';
  return `${directory} (${(bytes / 1_048_576).toFixed(1)} MiB, ${keys})`;
}

function version(): string {
  const file = join(import.meta.dirname, '..', '..', '..', 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

main(process.argv.slice(2)).then(
  (line) => void process.stdout.write(`${line}\n`),
  (error: unknown) => {
    const explained =
      error instanceof Error && (EXPLAINED.has(error.name) || error.message.startsWith('usage'));
    process.stderr.write(`${explained ? messageOf(error) : String((error as Error)?.stack ?? error)}\n`);
    process.exitCode = 1;
  },
);
