// Makes sure that a Redis server can be started here (fetching one if need be), or says in one line what to do.
import { join } from 'node:path';
import { NoRedisServerError, obtainServer } from '../src/infra/redis/server-source.ts';

try {
  await obtainServer({
    searchPath: process.env.PATH ?? '',
    cacheDir: join(import.meta.dirname, '..', '.cache'),
    onProgress: (line) => process.stderr.write(`flotilla: ${line}\n`),
  });
} catch (error) {
  if (!(error instanceof NoRedisServerError)) throw error;
  process.stderr.write(`flotilla: ${error.message}\n`);
  process.exitCode = 1;
}
