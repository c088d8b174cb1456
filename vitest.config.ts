import { defineConfig } from 'vitest/config';
import { compileOnce } from './test/compile-cache.ts';
import { FlakyReporter } from './test/flaky-reporter.ts';
import { patient } from './test/patience.ts';

compileOnce();

export default defineConfig({
  test: {
    environment: 'node',
    include: ['test/**/*.test.ts'],
    // Load and chaos runs take minutes and a quiet machine, engines need root: they have commands of their own.
    exclude: ['**/node_modules/**', 'test/bench/**', 'test/docker/**', 'test/swarm/**'],
    // Processes, not threads: a test's children are tied to the life of the process that started them.
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: patient(120_000),
    hookTimeout: patient(120_000),
    teardownTimeout: patient(10_000),
    expect: { poll: { timeout: patient(2000) } },
    // Real processes are killed at real moments, on machines that others use too. A retry is shown in the report.
    retry: process.env.CI ? 2 : 0,
    // CI counts from a file what it says in its last line.
    reporters: process.env.CI
      ? [
          'default',
          new FlakyReporter(),
          ['json', { outputFile: process.env.TEST_REPORT ?? '.cache/vitest.json' }],
        ]
      : ['default'],
  },
});
