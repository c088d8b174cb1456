import { defineConfig } from 'vitest/config';
import { compileOnce } from '../compile-cache.ts';
import { FlakyReporter } from '../flaky-reporter.ts';
import { patient } from '../patience.ts';

compileOnce();

/** With real engines in namespaces of their own, one file at a time: `npm run test:swarm`. */
export default defineConfig({
  test: {
    environment: 'node',
    include: ['test/swarm/**/*.test.ts'],
    globalSetup: ['test/helpers/say-engine-trouble.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: patient(240_000),
    // The first run makes the base image.
    hookTimeout: patient(600_000),
    teardownTimeout: patient(30_000),
    // As in the other suites: a retry is shown in the report.
    retry: process.env.CI ? 1 : 0,
    reporters: process.env.CI
      ? [
          'default',
          new FlakyReporter(),
          ['json', { outputFile: process.env.TEST_REPORT ?? '.cache/vitest-swarm.json' }],
        ]
      : ['default'],
  },
});
