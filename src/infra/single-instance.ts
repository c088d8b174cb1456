import { accessSync, constants, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { messageOf } from '../kernel/errors.ts';
import { makeDirectory } from './make-directory.ts';

/** The right to be the only one that works on a data directory. */
export interface InstanceLock {
  /** Tells a second one where this one answers, for example `http://127.0.0.1:3000`. */
  announce(address: string): void;
  /** Gives the directory back. May be called twice. */
  release(): void;
}

/** Another process works on the data directory. The message is one line for a person. */
export class AlreadyRunningError extends Error {
  override readonly name = 'AlreadyRunningError';
}

/** The data directory cannot be used. The message is one line that names DATA_DIR. */
export class DataDirectoryError extends Error {
  override readonly name = 'DataDirectoryError';
}

/** Nobody may use a lock any more, and it holds all the same: collected as garbage it would be let go. */
const held = new Set<Database.Database>();

interface Holder {
  pid: number;
  address: string | null;
}

/**
 * Takes the data directory for this process, creating it if need be.
 *
 * The lock is the kernel's, on an SQLite file that is held exclusively: it goes when the process goes, however
 * that happens, so there is never a stale one. Who holds it is written beside it, and read only by one who was refused.
 * @param dataDir absolute path
 * @throws AlreadyRunningError | DataDirectoryError
 */
export function lockDataDirectory(dataDir: string): InstanceLock {
  makeUsable(dataDir);
  const database = holdExclusively(dataDir);
  held.add(database);
  const sidecar = join(dataDir, 'running.json');
  const write = (holder: Holder) => writeFileSync(sidecar, `${JSON.stringify(holder)}\n`);
  write({ pid: process.pid, address: null });
  return {
    announce: (address) => write({ pid: process.pid, address }),
    release: () => {
      if (!database.open) return;
      rmSync(sidecar, { force: true });
      database.close();
      held.delete(database);
    },
  };
}

function makeUsable(dataDir: string): void {
  try {
    makeDirectory(dataDir);
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new DataDirectoryError(
      `DATA_DIR ${dataDir} cannot be used (${code}): it must be a writable directory.`,
    );
  }
}

function holdExclusively(dataDir: string): Database.Database {
  let database: Database.Database | undefined;
  try {
    database = new Database(join(dataDir, 'lock.sqlite'), { timeout: 0 });
    // Nothing is ever written, so there is no journal that a crash could leave.
    database.exec('BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database?.close();
    const code = (error as { code?: string }).code ?? '';
    if (code.startsWith('SQLITE_BUSY')) throw new AlreadyRunningError(describeHolder(dataDir));
    throw new DataDirectoryError(`DATA_DIR ${dataDir} cannot be used: ${messageOf(error)}.`);
  }
}

function describeHolder(dataDir: string): string {
  const holder = readHolder(join(dataDir, 'running.json'));
  const who = holder
    ? ` (pid ${holder.pid}${holder.address ? `, ${holder.address}` : ', still starting'})`
    : '';
  return `Flotilla is already running on ${dataDir}${who}: stop it first, or set DATA_DIR to another directory.`;
}

function readHolder(sidecar: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(sidecar, 'utf8')) as Holder;
  } catch {
    return undefined; // being written, or just being removed: the message does without
  }
}
