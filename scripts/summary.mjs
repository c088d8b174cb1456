// `summary.mjs <vitest's JSON report> <exit code of its run> [<report> <exit code> …]` prints the plain line
// `N passed, N failed` for all of them together. A file that fails outside of its tests counts as one failure, and
// so does a run that failed without any failed test.
import { readFileSync } from 'node:fs';

function count(file, exitCode) {
  let report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    console.log(`There is no report of the tests: ${error.message}`);
    return { passed: 0, failed: exitCode === '0' ? 0 : 1 };
  }
  // What else there is to say of a run.
  if (report.line) console.log(report.line);
  const broken = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((assertion) => assertion.status === 'failed'),
  );
  const failed = report.numFailedTests + broken.length;
  return { passed: report.numPassedTests, failed: failed === 0 && exitCode !== '0' ? 1 : failed };
}

const args = process.argv.slice(2);
let passed = 0;
let failed = 0;
for (let at = 0; at < args.length; at += 2) {
  const counted = count(args[at] ?? '', args[at + 1] ?? '1');
  passed += counted.passed;
  failed += counted.failed;
}
console.log(`${passed} passed, ${failed} failed`);
