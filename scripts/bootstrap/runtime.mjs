import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { npm } from './npm.mjs';
import { Refusal, say } from './say.mjs';

/** The first version that runs TypeScript sources directly. */
export const OLDEST = [22, 18];
/** What is fetched where the machine has an older one, with the npm that goes with it. */
export const FETCHED_VERSION = '24.21.0';
const FETCHED_NPM = '11.19.1';

/** Whether a version such as `v20.1.0` runs our sources. */
export function runsSources(version) {
  const [major, minor] = version.replace(/^v/, '').split('.').map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

/** Where the fetched Node is, if it is. */
export const fetchedNode = (cacheDir) =>
  join(
    folderOf(cacheDir),
    'node_modules',
    packageName(),
    'bin',
    process.platform === 'win32' ? 'node.exe' : 'node',
  );

/**
 * The npm to install packages with. It must run on the Node that will run the packages: npm leaves out optional
 * packages that do not suit the Node that it runs on. An old npm of the machine may not run on a new Node at all.
 * @returns {string[]} program and first arguments
 */
export function npmFor(node, cacheDir) {
  const own = join(folderOf(cacheDir), 'node_modules', 'npm', 'bin', 'npm-cli.js');
  return node === fetchedNode(cacheDir) ? [node, own] : machineNpm();
}

/** The npm that runs us, else the one on the path. */
function machineNpm() {
  const running = process.env.npm_execpath;
  if (running && /npm-cli\.js$/.test(running) && existsSync(running)) return [process.execPath, running];
  return [process.platform === 'win32' ? 'npm.cmd' : 'npm'];
}

/** A Node that runs our sources without anything having to be fetched; undefined if there is none. */
export function presentNode(cacheDir) {
  if (runsSources(process.version)) return process.execPath;
  return existsSync(fetchedNode(cacheDir)) ? fetchedNode(cacheDir) : undefined;
}

/**
 * Fetches Node from the npm registry into the cache folder: the package with the binary for this platform, which
 * `node` on the registry would choose by an install script (that may be blocked). Nothing is installed globally.
 * It is put in place in one step, when it is complete and has been tried.
 */
export async function fetchNode(cacheDir, onStart) {
  const wanted = `Node.js ${OLDEST.join('.')} or newer is needed (this is ${process.version})`;
  const purpose = `${wanted} and could not be fetched: install it, or connect to the network and try again`;
  say(`${wanted}: fetching ${FETCHED_VERSION} from the npm registry into .cache/`);
  mkdirSync(cacheDir, { recursive: true });
  const staging = mkdtempSync(join(cacheDir, 'node-fetching-'));
  try {
    writeFileSync(join(staging, 'package.json'), '{"private":true}\n');
    const specs = [`${packageName()}@${FETCHED_VERSION}`, `npm@${FETCHED_NPM}`];
    const args = [
      'install',
      '--prefix',
      staging,
      '--ignore-scripts',
      '--no-save',
      '--no-package-lock',
      ...specs,
    ];
    await npm(args, { program: machineNpm(), cwd: staging, purpose, onStart });
    const node = fetchedNode(cacheDir).replace(folderOf(cacheDir), staging);
    tryOut(node, wanted);
    rmSync(folderOf(cacheDir), { recursive: true, force: true });
    renameSync(staging, folderOf(cacheDir));
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

function tryOut(node, wanted) {
  try {
    execFileSync(node, ['--version'], { stdio: 'pipe' });
  } catch (error) {
    const why = String(error.message).split('\n')[0];
    throw new Refusal(`${wanted}, and the one from the npm registry does not run here (${why}): install it.`);
  }
}

const folderOf = (cacheDir) => join(cacheDir, `node-${FETCHED_VERSION}-${process.platform}-${process.arch}`);

function packageName() {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const prefix = platform === 'darwin' && process.arch === 'arm64' ? 'node-bin' : 'node';
  return `${prefix}-${platform}-${process.arch}`;
}
