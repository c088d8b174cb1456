import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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

test('the last line of CI counts honestly', async () => {
  const summaryOf = (...runs: [report: object | string, exitCode: string][]): Promise<string> => {
    const args = runs.flatMap(([report, exitCode], index) => {
      const file = join(dir, `report-${index}.json`);
      writeFileSync(file, typeof report === 'string' ? report : JSON.stringify(report));
      return [file, exitCode];
    });
    return new Promise((resolve) => {
      execFile(process.execPath, [join(ROOT, 'scripts', 'summary.mjs'), ...args], (_, out) => resolve(out));
    });
  };
  const summary = (report: object | string, exitCode: string) => summaryOf([report, exitCode]);
  const passing = { status: 'passed', assertionResults: [{ status: 'passed' }] };
  const unloadable = { status: 'failed', assertionResults: [] };
  const good = { numPassedTests: 3, numFailedTests: 0, testResults: [passing] };
  expect(await summary(good, '0')).toBe('3 passed, 0 failed\n');
  expect(await summary(good, '1')).toBe('3 passed, 1 failed\n');
  expect(await summary({ ...good, testResults: [passing, unloadable] }, '1')).toBe('3 passed, 1 failed\n');
  expect(await summary('cut off', '1')).toMatch(
    /^There is no report of the tests: .*\n0 passed, 1 failed\n$/,
  );
  const skipped = { numPassedTests: 0, numFailedTests: 0, testResults: [] };
  const red = { numPassedTests: 4, numFailedTests: 2, testResults: [passing] };
  expect(await summaryOf([good, '0'], [skipped, '0'], [red, '1'])).toBe('7 passed, 2 failed\n');
  expect(await summaryOf([good, '0'], [good, '1'])).toBe('6 passed, 1 failed\n');
});
