// `summary.mjs <vitest's JSON report> <exit code of the test run>` prints the plain line `N passed, N failed`.
// A file that fails outside of its tests counts as one failure, and so does a run that failed without any failed test.
import { readFileSync } from 'node:fs';

const [file = '', exitCode = '1'] = process.argv.slice(2);

function count() {
  let report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    console.log(`There is no report of the tests: ${error.message}`);
    return { passed: 0, failed: 0 };
  }
  const broken = report.testResults.filter(
    ({ status, assertionResults }) =>
      status === 'failed' && !assertionResults.some((assertion) => assertion.status === 'failed'),
  );
  return { passed: report.numPassedTests, failed: report.numFailedTests + broken.length };
}

const { passed, failed } = count();
console.log(`${passed} passed, ${failed === 0 && exitCode !== '0' ? 1 : failed} failed`);
