import { delimiter, dirname, isAbsolute, join } from 'node:path';
import { runStep } from './child.mjs';
import { Refusal } from './say.mjs';

/** Quick to give up: who is offline wants to know at once, not after npm's minutes. */
const PATIENCE = ['--fetch-retries=2', '--fetch-retry-mintimeout=500', '--fetch-retry-maxtimeout=3000'];
const QUIET = ['--no-audit', '--no-fund', '--no-update-notifier', '--no-progress', '--loglevel=error'];
const NETWORK =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED|ERR_SOCKET_TIMEOUT)\b/;

/**
 * Runs npm.
 * @param {{ program: string[], cwd: string, purpose: string, onStart: (pid: number) => void }} context
 *   `program`: npm's program and first arguments. `purpose` ends the sentence "The npm registry cannot be reached, so …"
 */
export async function npm(args, { program: [file, ...before], cwd, purpose, onStart }) {
  // Install scripts say `node`: that must be the one that runs npm.
  const env = { ...cleanEnvironment(), ...(isAbsolute(file) && { PATH: pathWith(dirname(file)) }) };
  const noNpm = `npm is not on this machine, so ${purpose}.`;
  let result;
  try {
    result = await runStep(file, [...before, ...args, ...QUIET, ...PATIENCE], { cwd, env, onStart });
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    throw new Refusal(noNpm);
  }
  if (result.code === 0) return;
  if (result.code === 127) throw new Refusal(noNpm);
  const network = NETWORK.exec(result.output);
  if (network) throw new Refusal(`The npm registry cannot be reached (${network[1]}), so ${purpose}.`);
  const said = result.output
    .trim()
    .split('\n')
    .filter((line) => !/^npm error A complete log/.test(line));
  throw new Refusal(`npm ${args[0]} failed, so ${purpose}:\n${said.slice(-25).join('\n')}`);
}

/** What npm tells its scripts about the outer project must not reach an npm that works in another folder. */
function cleanEnvironment() {
  const outer =
    /^(npm_package_|npm_lifecycle_|npm_config_(local_prefix|prefix|global_prefix|omit|include|production)$|INIT_CWD$)/i;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !outer.test(name)));
}

export const pathWith = (...directories) => [...directories, process.env.PATH ?? ''].join(delimiter);

export const binOf = (root) => join(root, 'node_modules', '.bin');
