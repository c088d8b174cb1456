import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  AlreadyRunningError,
  DataDirectoryError,
  type InstanceLock,
  lockDataDirectory,
} from '../../src/infra/single-instance.ts';

const MODULE = join(import.meta.dirname, '..', '..', 'src', 'infra', 'single-instance.ts');
let dir: string;
let lock: InstanceLock | undefined;
let other: ChildProcess | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'flotilla-lock-'));
});
afterEach(() => {
  other?.kill('SIGKILL');
  lock?.release();
  lock = undefined;
  rmSync(dir, { recursive: true, force: true });
});

async function lockedByAnother(address: string | null): Promise<ChildProcess> {
  const program = `
    const { lockDataDirectory } = await import(${JSON.stringify(MODULE)});
    const lock = lockDataDirectory(${JSON.stringify(dir)});
    ${address === null ? '' : `lock.announce('${address}');`}
    console.log('locked');
    setInterval(() => {}, 1000);`;
  other = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const _ of createInterface({ input: other.stdout! })) return other;
  throw new Error('the other process could not lock');
}

test('a second process is refused, and told which one runs where', async () => {
  const { pid } = await lockedByAnother('http://127.0.0.1:3000');
  expect(() => lockDataDirectory(dir)).toThrow(AlreadyRunningError);
  expect(() => lockDataDirectory(dir)).toThrow(
    `Flotilla is already running on ${dir} (pid ${pid}, http://127.0.0.1:3000): stop it first, or set DATA_DIR`,
  );
});

test('one that still starts is named by its pid', async () => {
  const { pid } = await lockedByAnother(null);
  expect(() => lockDataDirectory(dir)).toThrow(`(pid ${pid}, still starting)`);
});

test('it holds, also if its holder forgets it', async () => {
  setFlagsFromString('--expose-gc');
  lockDataDirectory(dir);
  for (let round = 0; round < 5; round++) {
    (runInNewContext('gc') as () => void)();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await expect(lockedByAnother(null)).rejects.toThrow('could not lock');
});

test('after SIGKILL the directory is free at once', async () => {
  const child = await lockedByAnother('http://127.0.0.1:3000');
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
  lock = lockDataDirectory(dir);
  expect(existsSync(join(dir, 'running.json'))).toBe(true);
});

test('release gives the directory back and leaves no note; twice does no harm', () => {
  lock = lockDataDirectory(dir);
  expect(() => lockDataDirectory(dir)).toThrow(AlreadyRunningError);
  lock.release();
  lock.release();
  expect(existsSync(join(dir, 'running.json'))).toBe(false);
  lock = lockDataDirectory(dir);
});

test('a directory that cannot be used is named', () => {
  writeFileSync(join(dir, 'file'), '');
  expect(() => lockDataDirectory(join(dir, 'file', 'data'))).toThrow(DataDirectoryError);
  expect(() => lockDataDirectory(join(dir, 'file', 'data'))).toThrow(
    /^DATA_DIR .* cannot be used \(ENOTDIR\)/,
  );
  lock = lockDataDirectory(join(dir, 'new', 'deep'));
});
