// `check.mjs fast`: types, format and lint, import rules, at the same time. `check.mjs all`: all files again, dead
// code, `env.example` and the tests as well.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';

const node = process.execPath;
const everything = process.argv[2] === 'all';
const folders = ['src', 'demo', 'test', 'scripts'].filter((folder) => existsSync(folder));
// The promise rules take as long as all the rest, so the fast check looks again only at files that changed. What a
// change of a type does to files that did not change, the full check finds.
const remembered = ['--cache', '--cache-strategy=content', '--cache-location=.cache/eslint/'];
const FAST = {
  types: ['node_modules/typescript/bin/tsc', '--noEmit', '--pretty', 'false'],
  'format and lint': ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings'],
  'promise rules': [
    'node_modules/eslint/bin/eslint.js',
    '.',
    '--max-warnings=0',
    ...(everything ? [] : remembered),
  ],
  'import rules': ['node_modules/dependency-cruiser/bin/dependency-cruiser.mjs', ...folders],
};
const SLOW = {
  'dead code': ['node_modules/knip/bin/knip.js', '--no-config-hints'],
  'env.example': ['scripts/gen-env.ts', '--check'],
};
const TESTS = ['node_modules/vitest/vitest.mjs', 'run'];

/** Runs one step with its output kept, and shows that only if the step fails. */
function step(name, args) {
  const begun = performance.now();
  return new Promise((resolve) => {
    const child = spawn(node, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, FORCE_COLOR: '0' },
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.once('close', (code) => {
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      console.log(`${code === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`);
      if (code !== 0) console.log(output.trimEnd());
      resolve(code === 0);
    });
  });
}

function tests() {
  return new Promise((resolve) => {
    spawn(node, TESTS, { stdio: 'inherit' }).once('close', (code) => resolve(code === 0));
  });
}

const together = async (steps) => {
  const results = await Promise.all(Object.entries(steps).map(([name, args]) => step(name, args)));
  return results.every(Boolean);
};

let good = await together(FAST);
if (everything) {
  good = (await together(SLOW)) && good;
  good = (await tests()) && good;
}
process.exitCode = good ? 0 : 1;
