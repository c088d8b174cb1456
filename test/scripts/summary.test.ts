import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const SUMMARY = join(import.meta.dirname, '..', '..', 'scripts', 'summary.mjs');
const dir = mkdtempSync(join(tmpdir(), 'flotilla-summary-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const say = (...args: string[]): Promise<string> =>
  new Promise((resolve) => {
    execFile(process.execPath, [SUMMARY, ...args], { cwd: dir }, (_, out) => resolve(out));
  });

let reports = 0;
/** @returns the name of the file */
function report(content: object | string): string {
  const file = `report-${++reports}.json`;
  writeFileSync(join(dir, file), typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

type Outcome = 'passed' | 'failed' | 'skipped';

const file = (name: string, outcomes: Outcome[], status: Outcome = 'passed') => ({
  name: join(dir, name),
  status: outcomes.includes('failed') ? 'failed' : status,
  message: `${name} does not load`,
  assertionResults: outcomes.map((outcome, index) => ({
    status: outcome,
    fullName: `test ${index}`,
    failureMessages: outcome === 'failed' ? ['Error: because'] : [],
  })),
});
const good = { testResults: [file('good.test.ts', ['passed', 'passed', 'passed', 'skipped'])] };
const red = { testResults: [...good.testResults, file('red.test.ts', ['passed', 'failed'])] };
const unloadable = { testResults: [...good.testResults, file('odd.test.ts', [], 'failed')] };

const lastLine = (text: string): string | undefined => text.trimEnd().split('\n').at(-1);

test('the last line counts what passed and what failed, over all runs', async () => {
  expect(await say(`0:${report(good)}`)).toBe('3 passed, 0 failed\n');
  expect(lastLine(await say(`1:${report(red)}`))).toBe('4 passed, 1 failed');
  expect(lastLine(await say(`0:${report(good)}`, `1:${report(red)}`))).toBe('7 passed, 1 failed');
});

test('no run that failed counts as none: not one without a failed test, a report or a file that loads', async () => {
  expect(lastLine(await say(`1:${report(good)}`))).toBe('3 passed, 1 failed');
  expect(lastLine(await say(`1:${report(unloadable)}`))).toBe('3 passed, 1 failed');
  expect(await say(`1:${report('cut off')}`)).toMatch(
    /^There is no report of the tests: .*\n0 passed, 1 failed\n$/,
  );
});

test('what failed is named, with its reason', async () => {
  const text = await say(`1:${report(red)}`, `1:${report(unloadable)}`);
  expect(text).toContain('failed: red.test.ts > test 1\n    Error: because\n');
  expect(text).toContain('failed: odd.test.ts\n    odd.test.ts does not load\n');
});

test('what is said of a file that was repeated counts, and both are shown', async () => {
  const first = report(red);
  const green = report({ testResults: [file('red.test.ts', ['passed', 'passed'])] });
  const better = await say(`0:${first}:${green}`);
  expect(better).toContain('failed at first: red.test.ts > test 1');
  expect(better).toContain('repeated: red.test.ts');
  expect(lastLine(better)).toBe('5 passed, 0 failed');
  const again = await say(
    `1:${first}:${report({ testResults: [file('red.test.ts', ['failed', 'passed'])] })}`,
  );
  expect(again).toContain('failed when repeated: red.test.ts > test 0');
  expect(lastLine(again)).toBe('4 passed, 1 failed');
  const both = await say(
    `0:${first}:${report({ testResults: [file('red.test.ts', ['failed', 'passed'])] })}:${green}`,
  );
  expect(both).toContain('failed when repeated: red.test.ts > test 0');
  expect(lastLine(both)).toBe('5 passed, 0 failed');
  // A repetition that ends without a word heals nothing.
  expect(lastLine(await say(`1:${first}:${report('')}`))).toBe('4 passed, 1 failed');
});

test('other reports count for themselves, and say a line', async () => {
  const chaos = report({ numPassedTests: 8, numFailedTests: 0, line: 'chaos: ALL HOLDS' });
  expect(await say(`0:${chaos}`)).toBe('chaos: ALL HOLDS\n8 passed, 0 failed\n');
});

test('the files with failures are listed for a repetition', async () => {
  expect(await say('--red', report(red))).toBe('red.test.ts\n');
  expect(await say('--red', report(unloadable))).toBe('odd.test.ts\n');
  expect(await say('--red', report(good))).toBe('');
});
