import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LogOutput } from '../../src/worker/log-output.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flotilla-log-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('goes on in the log that its output went to, within bounds, and for the owner only', async () => {
  const file = join(dir, 's.log');
  await writeFile(file, 'before\n', { mode: 0o600 });
  const output = new LogOutput();
  output.moveTo(file);
  output.write('after\n');
  expect(await readFile(file, 'utf8')).toBe('before\nafter\n');
  const line = `${'x'.repeat(999)}\n`;
  for (let count = 0; count < 2500; count++) output.write(line);
  for (const name of [file, `${file}.1`]) {
    const { size, mode } = await stat(name);
    expect(size).toBeLessThan(1024 * 1024 + 2 * line.length);
    expect(mode & 0o777).toBe(0o600);
  }
});

test('a log that cannot be written costs the log alone', () => {
  const output = new LogOutput();
  output.moveTo(join(dir, 'no', 'such', 'directory.log'));
  expect(() => output.write('line\n')).not.toThrow();
});
