import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { freePort } from '../../src/infra/redis/server-process.ts';

const ROOT = join(import.meta.dirname, '..', '..');
let dir: string;
let listener: Server | undefined;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'flotilla-doctor-'));
});
afterEach(() => {
  listener?.close();
  rmSync(dir, { recursive: true, force: true });
});

function doctor(env: Record<string, string>): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(ROOT, 'scripts', 'doctor.mjs')],
      { env: { PATH: process.env.PATH, DATA_DIR: join(dir, 'data'), ...env } },
      (error, out) => resolve({ code: error ? Number(error.code) : 0, out }),
    );
  });
}

test('says what is here, and that all is ready', async () => {
  const { code, out } = await doctor({ PORT: '0' });
  expect(out).toContain('Ready: npm start');
  expect(code).toBe(0);
  for (const subject of [
    'Node.js',
    'npm packages',
    'Redis',
    'data directory',
    'disk space',
    'memory',
    'port',
    'clock',
  ]) {
    expect(out).toMatch(new RegExp(`^ok +${subject}|^- +${subject}`, 'm'));
  }
  expect(out).toMatch(/which carries \d+ sessions/);
});

test('names a taken port, a bad variable, a directory that is none and a Redis that is not there', async () => {
  const port = await freePort();
  listener = createServer().listen(port, '127.0.0.1');
  const [taken, bad, nowhere] = await Promise.all([
    doctor({ PORT: String(port) }),
    doctor({ PORT: 'abc' }),
    doctor({ PORT: '0', REDIS_URL: 'redis://127.0.0.1:1', DATA_DIR: join(import.meta.filename, 'data') }),
  ]);
  expect(taken.code).toBe(1);
  expect(taken.out).toContain(`MISSING  port ${port} on 127.0.0.1 cannot be used (EADDRINUSE)`);
  expect(bad.code).toBe(1);
  expect(bad.out).toContain('MISSING  settings: PORT must be');
  expect(nowhere.code).toBe(1);
  expect(nowhere.out).toContain('MISSING  Redis at 127.0.0.1:1 (REDIS_URL) does not answer');
  expect(nowhere.out).toMatch(/MISSING {2}data directory .* cannot be used/);
});
