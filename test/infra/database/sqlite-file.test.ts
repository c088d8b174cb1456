import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openDatabase } from '../../../src/infra/database/database.ts';
import { keepPrivate } from '../../../src/infra/database/sqlite-file.ts';

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'flotilla-sqlite-file-'));
  path = join(dir, 'file');
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const modeOf = async (file: string): Promise<number> => (await stat(file)).mode & 0o777;
const opened = async (): Promise<void> => {
  await (await openDatabase({ sqlitePath: path })).close();
};

test('a database is for its owner alone, also one that others could read before', async () => {
  await opened();
  expect(await modeOf(path)).toBe(0o600);
  await chmod(path, 0o644);
  await opened();
  expect(await modeOf(path)).toBe(0o600);
});

test.each(['root:x:0:0:root:/root:/bin/bash\n', 'SQLite'])(
  'what is no database is left as it is: %j',
  async (text) => {
    await writeFile(path, text, { mode: 0o644 });
    await chmod(path, 0o644);
    await expect(opened()).rejects.toThrow('it is not an SQLite database');
    expect(await modeOf(path)).toBe(0o644);
    expect(await readFile(path, 'utf8')).toBe(text);
  },
);

test('neither a directory nor a device is taken for one', async () => {
  const before = await modeOf('/dev/null');
  expect(() => keepPrivate(dir)).toThrow('EISDIR');
  expect(() => keepPrivate('/dev/null')).toThrow('it is not a regular file');
  expect(await modeOf('/dev/null')).toBe(before);
});
