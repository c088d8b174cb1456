import { relative } from 'node:path';
import type { Reporter, TestCase } from 'vitest/node';

const LINES_OF_A_REASON = 12;

/** Says why a test failed that passed when it was retried: the other reporters forget it. */
export class FlakyReporter implements Reporter {
  onTestCaseResult(test: TestCase): void {
    if (!test.diagnostic()?.flaky) return;
    const where = `${relative(process.cwd(), test.module.moduleId)} > ${test.fullName}`;
    for (const { stack, message } of test.result().errors ?? []) {
      const reason = (stack ?? message).split('\n').slice(0, LINES_OF_A_REASON).join('\n    ');
      console.log(`failed before it passed: ${where}\n    ${reason}`);
    }
  }
}
