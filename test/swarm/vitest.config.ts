import { defineConfig } from 'vitest/config';

/** With real engines in namespaces of their own, one file at a time: `npm run test:swarm`. */
export default defineConfig({
  test: {
    environment: 'node',
    include: ['test/swarm/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 90_000,
    // The first run makes the base image.
    hookTimeout: 600_000,
    teardownTimeout: 30_000,
    reporters: process.env.CI
      ? ['default', ['json', { outputFile: '.cache/vitest-swarm.json' }]]
      : ['default'],
  },
});
