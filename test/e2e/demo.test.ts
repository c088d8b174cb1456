import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const MAIN = join(import.meta.dirname, '..', '..', 'demo', 'main.ts');

test('the demo, smaller: everything is delivered, once, within the caps', async () => {
  const child = spawn(process.execPath, [MAIN, '--profiles', '5', '--proxies', '2', '--messages', '40'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  expect(output).toContain('40/40 delivered, 0 duplicates, no proxy above 4');
  expect(code).toBe(0);
});
