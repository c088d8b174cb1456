// Makes sure that a Redis server can be started here (fetching one if need be), or says in one line what to do.
// With `--look` nothing is fetched: prints where the server is, or fails.
import { join } from 'node:path';
import { findServer } from '../src/infra/redis/server-binary.ts';
import { NoRedisServerError, obtainServer } from '../src/infra/redis/server-source.ts';

const searchPath = process.env.PATH ?? '';
const cacheDir = join(import.meta.dirname, '..', '.cache');

if (process.argv.includes('--look')) {
  const found = findServer(searchPath, cacheDir);
  if (found) process.stdout.write(`${found.description}\n`);
  else process.exitCode = 1;
} else {
  try {
    const onProgress = (line: string) => void process.stderr.write(`flotilla: ${line}\n`);
    await obtainServer({ searchPath, cacheDir, onProgress });
  } catch (error) {
    if (!(error instanceof NoRedisServerError)) throw error;
    process.stderr.write(`flotilla: ${error.message}\n`);
    process.exitCode = 1;
  }
}
