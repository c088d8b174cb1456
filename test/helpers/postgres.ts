import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { freePort } from '../../src/infra/redis/server-process.ts';

export interface TestPostgres {
  readonly url: string;
  stop(): Promise<void>;
}

const DEBIAN_ROOT = '/usr/lib/postgresql';

/** Where Debian puts the server's programs; null if Postgres is not installed. */
export function postgresBinDir(): string | null {
  if (!existsSync(DEBIAN_ROOT)) return null;
  const version = readdirSync(DEBIAN_ROOT)
    .toSorted((a, b) => Number(b) - Number(a))
    .find((each) => existsSync(join(DEBIAN_ROOT, each, 'bin', 'postgres')));
  return version ? join(DEBIAN_ROOT, version, 'bin') : null;
}

/** A real Postgres server in a temporary directory, on a free loopback port. Dies with the test process. */
export async function startPostgres(binDir: string): Promise<TestPostgres> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-postgres-'));
  const user = serverUser();
  if (user) await chown(dir, user.uid, user.gid);
  const asUser = user ? ['setpriv', `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'] : ['env'];
  const init = spawnSync(
    asUser[0] ?? 'env',
    [
      ...asUser.slice(1),
      join(binDir, 'initdb'),
      '-D',
      join(dir, 'data'),
      '-U',
      'flotilla',
      '--auth=trust',
      '--no-sync',
    ],
    { encoding: 'utf8' },
  );
  if (init.status !== 0) throw new Error(`initdb failed: ${init.stderr}`);
  const port = await freePort();
  const child = spawn(
    'setpriv',
    [
      '--pdeathsig=KILL',
      ...(user ? asUser.slice(1) : []),
      join(binDir, 'postgres'),
      ...['-D', join(dir, 'data'), '-p', String(port), '-k', dir, '-c', 'listen_addresses=127.0.0.1'],
    ],
    { stdio: 'ignore' },
  );
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = `postgres://flotilla@127.0.0.1:${port}/postgres`;
  await untilItAnswers(url);
  return {
    url,
    async stop() {
      child.kill('SIGINT');
      await exited;
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Postgres refuses to run as root. */
function serverUser(): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null;
  const id = (flag: string) => Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout);
  return { uid: id('-u'), gid: id('-g') };
}

async function untilItAnswers(url: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const client = new pg.Client({ connectionString: url });
    try {
      await client.connect();
      await client.end();
      return;
    } catch {
      await sleep(50);
    }
  }
  throw new Error('Postgres did not answer within 10 s');
}
