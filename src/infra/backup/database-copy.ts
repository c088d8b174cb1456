import { spawn } from 'node:child_process';
import { chmod } from 'node:fs/promises';
import SqliteDatabase from 'better-sqlite3';

/** There is no copy of the database, or it was not brought back. The message is one line for a person. */
export class DatabaseCopyError extends Error {
  override readonly name = 'DatabaseCopyError';
}

/** In one step: a copy in many begins anew with each write of another process, and would never end. */
const ALL_PAGES = 0x7fff_ffff;
const BUSY_MS = 30_000;

/** Copies a database that others go on writing to, as of one moment, into one file, and checks the copy. */
export async function copySqlite(from: string, to: string): Promise<void> {
  const source = new SqliteDatabase(from, { readonly: true, fileMustExist: true, timeout: BUSY_MS });
  try {
    await source.backup(to, { progress: () => ALL_PAGES });
  } finally {
    source.close();
  }
  await chmod(to, 0o600);
  const copy = new SqliteDatabase(to);
  try {
    // Without this it would want files beside it.
    copy.pragma('journal_mode = DELETE');
    const verdict = copy.pragma('quick_check(1)', { simple: true });
    if (verdict !== 'ok') throw new DatabaseCopyError(`The copy of ${from} is damaged: ${String(verdict)}.`);
  } finally {
    copy.close();
  }
}

/** As of one moment, while others go on. Needs `pg_dump` on PATH, no older than the server. */
export async function dumpPostgres(url: string, to: string, searchPath: string): Promise<void> {
  await runTool(
    'pg_dump',
    ['--format=custom', '--no-owner', '--no-privileges', `--file=${to}`],
    url,
    searchPath,
  );
  await chmod(to, 0o600);
}

/** Into an empty database. Needs `pg_restore` on PATH. */
export async function restorePostgres(url: string, from: string, searchPath: string): Promise<void> {
  const database = decodeURIComponent(new URL(url).pathname.slice(1));
  const options = ['--no-owner', '--no-privileges', '--exit-on-error', '--single-transaction'];
  await runTool('pg_restore', [...options, `--dbname=${database}`, from], url, searchPath);
}

/** The address goes by variables: arguments can be seen by everybody on the machine. */
async function runTool(tool: string, args: string[], url: string, searchPath: string): Promise<void> {
  const child = spawn(tool, args, {
    env: { PATH: searchPath, ...connection(url) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(-2000);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error) =>
      reject(
        new DatabaseCopyError(`${tool} cannot be run (${error.message}); it comes with Postgres's client.`),
      ),
    );
    child.once('close', resolve);
  });
  const lines = words.trim().split('\n');
  const line = lines.find((each) => each.includes('error:')) ?? lines.at(-1);
  if (code !== 0) throw new DatabaseCopyError(`${tool} failed: ${line || `exit code ${code}`}`);
}

function connection(url: string): Record<string, string> {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url);
  const sslmode = searchParams.get('sslmode');
  const entries = {
    PGHOST: searchParams.get('host') ?? hostname,
    PGPORT: port,
    PGUSER: decodeURIComponent(username),
    PGPASSWORD: decodeURIComponent(password),
    PGDATABASE: decodeURIComponent(pathname.slice(1)),
    PGSSLMODE: sslmode ?? '',
  };
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== ''));
}
