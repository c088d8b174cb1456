import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { KEPT_LINES, KeptLogs } from '../../../../src/infra/runtime/docker/kept-logs.ts';
import { PullProgress } from '../../../../src/infra/runtime/docker/pull-progress.ts';

let dir = '';
afterEach(() => rm(dir, { recursive: true, force: true }));

test('the last lines of the last worker are kept: bounded, without secrets, for the owner alone', async () => {
  dir = await mkdtemp(join(tmpdir(), 'flotilla-kept-'));
  const logs = new KeptLogs(join(dir, 'logs'));
  expect(await logs.read('s/1', 10)).toEqual([]);
  await logs.keep('s/1', ['of an older worker']);
  await logs.keep('s/1', [
    ...Array.from({ length: 500 }, (_, i) => `line ${i}`),
    'through http://user:secret@proxy.example:8080',
    'x '.repeat(5000),
  ]);
  await logs.keep('s/1', []);
  const lines = await logs.read('s/1', 1000);
  expect(lines).toHaveLength(KEPT_LINES);
  expect(lines.at(-2)).toBe('through http://***@proxy.example:8080');
  expect(lines.at(-1)?.length).toBeLessThanOrEqual(500);
  expect(await logs.read('s/1', 2)).toEqual(lines.slice(-2));
  expect(await readdir(join(dir, 'logs'))).toEqual(['s%2f1.log']);
  expect((await stat(join(dir, 'logs', 's%2f1.log'))).mode & 0o777).toBe(0o600);
  await logs.remove('s/1');
  expect(await readdir(join(dir, 'logs'))).toEqual([]);
});

test('the progress of a pull is how many layers and how much of them are there', () => {
  const progress = new PullProgress();
  expect(progress.text).toBe('0 of 0 layers');
  progress.take({ id: 'latest', status: 'Pulling from worker' });
  for (const id of ['a', 'b', 'c']) progress.take({ id, status: 'Pulling fs layer' });
  progress.take({ id: 'a', status: 'Already exists' });
  expect(progress.text).toBe('1 of 3 layers');
  progress.take({
    id: 'b',
    status: 'Downloading',
    progressDetail: { current: 20_000_000, total: 80_000_000 },
  });
  expect(progress.text).toBe('1 of 3 layers, 20 of 80 MB');
  progress.take({ id: 'b', status: 'Download complete' });
  progress.take({ id: 'b', status: 'Extracting', progressDetail: { current: 1, total: 80_000_000 } });
  expect(progress.text).toBe('1 of 3 layers, 80 of 80 MB');
  progress.take({ id: 'b', status: 'Pull complete' });
  progress.take({ status: 'Digest: sha256:…' });
  expect(progress.text).toBe('2 of 3 layers, 80 of 80 MB');
});
