import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import {
  findOnPath,
  findUnpackedServer,
  type ServerCommand,
  UNPACKED_STAMP,
  unpackedRoot,
} from './server-binary.ts';

const run = promisify(execFile);

/** Debian's and Ubuntu's packages that bring a server, best first. The binary is in the `-tools` package. */
const PACKAGES = [
  ['redis-server', 'redis-tools'],
  ['valkey-server', 'valkey-tools'],
];
const STEP_TIMEOUT_MS = 120_000;

/**
 * Fetches Debian's own Redis (or Valkey) package with the libraries that this machine lacks, and unpacks it under
 * the cache directory. Needs no root and changes nothing outside of the cache directory: no package is
 * installed, no system service starts. About 1.5 MB and a second or two.
 *
 * Two at once do no harm: each works in a folder of its own, and the first to finish moves it into place.
 * @returns undefined where there is no apt, or no such package can be had (offline, say)
 */
export async function unpackDebianServer(
  cacheDir: string,
  searchPath: string,
): Promise<ServerCommand | undefined> {
  const tools = ['apt-get', 'dpkg'].map((name) => findOnPath([name], searchPath));
  const [aptGet, dpkg] = tools;
  if (aptGet === undefined || dpkg === undefined) return undefined;
  await mkdir(cacheDir, { recursive: true });
  const staging = await mkdtemp(join(cacheDir, 'redis-unpacking-'));
  try {
    const apt = await aptThatKnowsPackages(aptGet, staging);
    for (const names of PACKAGES) {
      const fetched = await download(apt, names, staging);
      if (fetched.length === 0) continue;
      const root = join(staging, 'root');
      for (const file of fetched) await run(dpkg, ['-x', file, root], { timeout: STEP_TIMEOUT_MS });
      if (!(await describe(root))) continue;
      await putInPlace(root, unpackedRoot(cacheDir));
      return findUnpackedServer(cacheDir);
    }
    return undefined;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

type Apt = (args: string[], cwd?: string) => Promise<string>;

/**
 * apt-get with the machine's package lists; where those are empty (a bare container image), with lists of our own.
 */
async function aptThatKnowsPackages(aptGet: string, staging: string): Promise<Apt> {
  const withOptions =
    (options: string[]): Apt =>
    async (args, cwd = staging) =>
      (await run(aptGet, [...options, ...args], { cwd, timeout: STEP_TIMEOUT_MS, maxBuffer: 16 << 20 }))
        .stdout;
  const plain = withOptions([]);
  for (const [name = ''] of PACKAGES) {
    if (await succeeds(plain(['download', '--print-uris', name]))) return plain;
  }
  const own = join(staging, 'apt');
  await mkdir(join(own, 'lists', 'partial'), { recursive: true });
  await mkdir(join(own, 'cache', 'archives', 'partial'), { recursive: true });
  const settings = [`Dir::State::Lists=${own}/lists`, `Dir::Cache=${own}/cache`, 'APT::Sandbox::User='];
  const privateApt = withOptions(settings.flatMap((setting) => ['-o', setting]));
  await succeeds(privateApt(['update', '-q']));
  return privateApt;
}

/** Downloads the named packages and what they need that is not installed. @returns the files, none if it failed */
async function download(apt: Apt, names: string[], staging: string): Promise<string[]> {
  const target = await mkdtemp(join(staging, 'packages-'));
  // apt drops its rights for the download and complains when that user cannot write here.
  await chmod(target, 0o777);
  const missing = await missingDependencies(apt, names);
  const wanted = [...new Set([...names, ...missing])];
  if (!(await succeeds(apt(['download', '-q', ...wanted], target)))) return [];
  return (await readdir(target)).filter((file) => file.endsWith('.deb')).map((file) => join(target, file));
}

/** What an installation would bring in besides; a simulation that any user may run. */
async function missingDependencies(apt: Apt, names: string[]): Promise<string[]> {
  try {
    const plan = await apt(['install', '--simulate', '--no-install-recommends', ...names]);
    return [...plan.matchAll(/^Inst (\S+)/gm)].map((match) => match[1] ?? '').filter((name) => name !== '');
  } catch {
    return []; // the download of the packages themselves says whether anything can be had
  }
}

/** Finds the binary and the libraries in the unpacked tree, tries it, and writes the stamp. */
async function describe(root: string): Promise<boolean> {
  const file = findOnPath(['redis-server', 'valkey-server'], join(root, 'usr', 'bin'));
  if (file === undefined) return false;
  const libraries = new Set<string>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (/\.so(\.\d+)*$/.test(entry.name)) libraries.add(relative(root, entry.parentPath));
  }
  const libraryPath = [...libraries].map((directory) => join(root, directory)).join(':');
  if (!(await succeeds(run(file, ['--version'], { env: { LD_LIBRARY_PATH: libraryPath } })))) return false;
  const stamp = { file: relative(root, file), libraries: [...libraries] };
  await writeFile(join(root, UNPACKED_STAMP), `${JSON.stringify(stamp, null, 2)}\n`);
  return true;
}

async function putInPlace(root: string, target: string): Promise<void> {
  if (findUnpackedServer(join(target, '..'))) return; // somebody else was quicker
  await rm(target, { recursive: true, force: true });
  try {
    await rename(await realpath(root), target);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error; // there by now: as good as ours
  }
}

async function succeeds(step: Promise<unknown>): Promise<boolean> {
  try {
    await step;
    return true;
  } catch {
    return false; // each step has another one behind it; what is left in the end is said to the user
  }
}
