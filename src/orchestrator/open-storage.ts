import { accessSync, constants } from 'node:fs';
import { dirname } from 'node:path';
import { type Database, openDatabase } from '../infra/database/database.ts';
import { makeDirectory } from '../infra/make-directory.ts';
import { messageOf } from '../kernel/errors.ts';
import { type Config, ConfigError } from './config.ts';

/**
 * Makes sure of everything that is written to outside of Redis, so that a start fails here and not the first upload.
 * @throws ConfigError, one line that names the variable
 */
export async function openStorage(config: Config): Promise<Database> {
  makeWritable('MEDIA_DIR', config.mediaDir);
  const { databaseUrl, dbPath } = config;
  try {
    if (databaseUrl) return await openDatabase({ postgresUrl: databaseUrl });
    makeWritable('DB_PATH', dirname(dbPath));
    return await openDatabase({ sqlitePath: dbPath });
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const what = databaseUrl ? `DATABASE_URL (${hostOf(databaseUrl)})` : `DB_PATH ${dbPath}`;
    throw new ConfigError(`${what} cannot be used: ${firstLine(error)}.`, { cause: error });
  }
}

function makeWritable(name: string, dir: string): void {
  try {
    makeDirectory(dir);
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ConfigError(`${name} cannot be used (${code}): ${dir} must be a writable directory.`);
  }
}

/** Without the user and the password. */
const hostOf = (url: string): string => new URL(url).host || 'local socket';

/** Several addresses that were tried come as an AggregateError without a message of its own. */
function firstLine(error: unknown): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  return (messageOf(first).split('\n')[0] ?? '').replace(/\.$/, '');
}
