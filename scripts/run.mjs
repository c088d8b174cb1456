// Every npm script comes through here: `node scripts/run.mjs <name> [arguments]`.
// It makes sure of the runtime, the packages and (for the tests) a Redis server, then runs the command.
// Plain JavaScript without dependencies: it must run on an older Node and with an empty node_modules.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from './bootstrap/child.mjs';
import { withLock } from './bootstrap/lock.mjs';
import { binOf, pathWith } from './bootstrap/npm.mjs';
import { installPackages, packagesTrouble } from './bootstrap/packages.mjs';
import { fetchNode, npmFor, presentNode } from './bootstrap/runtime.mjs';
import { Refusal, say } from './bootstrap/say.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const cacheDir = join(root, '.cache');
const bin = (name) => join('node_modules', ...name.split('/'));

/**
 * `args`: arguments for Node. `dev`: needs the development packages. `redis`: needs a Redis server at hand
 * (what starts one by itself, and says so in its own words, does not). `bare`: runs on whatever there is.
 */
const COMMANDS = {
  // A small young generation: uploads of a million lines stay within their memory, and pauses stay short. It is
  // collected by the main thread alone: to wait for helpers on cores that are busy makes the pauses longer.
  start: {
    args: ['--max-semi-space-size=8', '--no-parallel-scavenge', 'src/orchestrator/main.ts'],
    cached: true,
  },
  dispatcher: { args: ['src/dispatcher/main.ts'], cached: true },
  simulator: { args: ['src/simulator/main.ts'] },
  backup: { args: ['src/orchestrator/backup/main.ts', 'create'] },
  restore: { args: ['src/orchestrator/backup/main.ts', 'restore'] },
  'verify-backup': { args: ['src/orchestrator/backup/main.ts', 'verify'] },
  demo: { args: ['demo/main.ts'] },
  dev: { args: ['scripts/dev.mjs'] },
  test: { args: [bin('vitest/vitest.mjs'), 'run'], dev: true, redis: true },
  'test:docker': {
    args: [bin('vitest/vitest.mjs'), 'run', '--config', 'test/docker/vitest.config.ts'],
    dev: true,
    redis: true,
  },
  'test:swarm': {
    args: [bin('vitest/vitest.mjs'), 'run', '--config', 'test/swarm/vitest.config.ts'],
    dev: true,
  },
  check: { args: ['scripts/check.mjs', 'all'], dev: true, redis: true },
  'check:fast': { args: ['scripts/check.mjs', 'fast'], dev: true },
  build: { args: ['scripts/build.mjs'], dev: true },
  bench: { args: ['test/bench/main.ts'], dev: true, redis: true },
  chaos: { args: ['test/chaos/main.ts'], dev: true, redis: true },
  'gen:env': { args: ['scripts/gen-env.ts'] },
  doctor: { args: ['scripts/doctor.mjs'], bare: true },
  exec: { args: [], dev: true },
};

async function main([name, ...rest]) {
  const command = COMMANDS[name];
  if (!command)
    throw new Refusal(`There is no command ${name ?? ''}. There are: ${Object.keys(COMMANDS).join(', ')}.`);
  const node = command.bare ? (presentNode(cacheDir) ?? process.execPath) : await makeSure(command);
  const env = { ...process.env, PATH: pathWith(dirname(node), binOf(root)) };
  // Compiled once for all: the second start takes a third less of the processor.
  if (command.cached) env.NODE_COMPILE_CACHE ??= join(cacheDir, 'compile');
  if (command.redis) {
    const code = await runCommand(node, ['scripts/redis.ts'], env);
    if (code !== 0) return code;
  }
  if (name === 'exec') return await runCommand(rest[0] ?? node, rest.slice(1), env);
  return await runCommand(node, [...command.args, ...rest], env);
}

/** The fast path looks and takes no lock; what is missing is put right under the lock, after a second look. */
async function makeSure({ dev = false }) {
  const present = presentNode(cacheDir);
  if (present && !packagesTrouble(root, { needsDev: dev })) return present;
  return await withLock(join(cacheDir, 'bootstrap.lock'), async (nameStep) => {
    if (!presentNode(cacheDir)) await fetchNode(cacheDir, nameStep);
    const node = presentNode(cacheDir);
    const trouble = packagesTrouble(root, { needsDev: dev });
    if (trouble) await installPackages(root, npmFor(node, cacheDir), trouble, nameStep);
    return node;
  });
}

process.chdir(root);
main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    if (!(error instanceof Refusal)) throw error;
    say(error.message);
    process.exit(1);
  },
);
