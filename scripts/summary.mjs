// `summary.mjs <suite> [<suite>…]`, a suite being `<exit code>:<JSON report>[:<JSON report of a repetition>…]`,
// prints which tests failed and why, and as the last line `N passed, N failed` for all of them together. What a
// repetition says of a file counts instead of what was said of it before.
// `summary.mjs --red <JSON report>` prints the files with failures, one a line.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const LINES_OF_A_REASON = 12;

function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    console.log(`There is no report of the tests: ${error.message}`);
    return undefined;
  }
}

const nameOf = (file) => relative(process.cwd(), file.name);

const isRed = (file) => file.status === 'failed' || failuresOf(file).length > 0;

const failuresOf = (file) => (file.assertionResults ?? []).filter((test) => test.status === 'failed');

const passesOf = (file) => (file.assertionResults ?? []).filter((test) => test.status === 'passed').length;

function printFailures(files, when) {
  for (const file of files.filter(isRed)) {
    const failures = failuresOf(file);
    // A file can fail outside of its tests.
    if (failures.length === 0) console.log(`${when}: ${nameOf(file)}\n${shortened(file.message ?? '')}`);
    for (const test of failures)
      console.log(
        `${when}: ${nameOf(file)} > ${test.fullName}\n${shortened((test.failureMessages ?? []).join('\n'))}`,
      );
  }
}

const shortened = (reason) =>
  reason
    .split('\n')
    .slice(0, LINES_OF_A_REASON)
    .map((line) => `    ${line}`)
    .join('\n');

function count(suite) {
  const [exitCode, first, ...repetitions] = suite.split(':');
  const green = exitCode === '0';
  const report = read(first);
  if (!report) return { passed: 0, failed: green ? 0 : 1 };
  // Other reports than those of tests count for themselves, and say a line.
  if (report.line) console.log(report.line);
  if (!report.testResults) return { passed: report.numPassedTests, failed: report.numFailedTests };
  printFailures(report.testResults, repetitions.length > 0 ? 'failed at first' : 'failed');
  const last = new Map(report.testResults.map((file) => [nameOf(file), file]));
  for (const repetition of repetitions) {
    const again = read(repetition)?.testResults ?? [];
    printFailures(again, 'failed when repeated');
    console.log(`repeated: ${again.map(nameOf).join(', ')}`);
    for (const file of again) last.set(nameOf(file), file);
  }
  const files = [...last.values()];
  const passed = files.reduce((sum, file) => sum + passesOf(file), 0);
  const failed = files.filter(isRed).reduce((sum, file) => sum + Math.max(1, failuresOf(file).length), 0);
  return { passed, failed: failed === 0 && !green ? 1 : failed };
}

const [first, ...rest] = process.argv.slice(2);
if (first === '--red') {
  for (const file of (read(rest[0])?.testResults ?? []).filter(isRed)) console.log(nameOf(file));
} else {
  const counted = [first, ...rest].map(count);
  const sum = (key) => counted.reduce((all, one) => all + one[key], 0);
  console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
}
