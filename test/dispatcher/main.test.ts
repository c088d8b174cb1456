import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const MAIN = join(import.meta.dirname, '../../src/dispatcher/main.ts');

async function start(env: Record<string, string>): Promise<{ code: number | null; said: string }> {
  const child = spawn(process.execPath, [MAIN], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH ?? '', NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE, ...env },
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  return { code, said };
}

it('names the variable that is missing, in one line, and ends', async () => {
  const all = {
    REDIS_URL: 'redis://127.0.0.1:1',
    ORCHESTRATOR_URL: 'http://127.0.0.1:1',
    API_KEY: 'x'.repeat(16),
  };
  const missing = Object.keys(all) as (keyof typeof all)[];
  const endings = await Promise.all(
    missing.map((name) => start(Object.fromEntries(Object.entries(all).filter(([key]) => key !== name)))),
  );
  expect(endings).toEqual(
    missing.map((name) => ({ code: 1, said: `${name} must be set for a dispatcher of its own.\n` })),
  );
});
