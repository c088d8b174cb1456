import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { npm } from './npm.mjs';
import { say } from './say.mjs';

/**
 * Compares what is installed with package-lock.json, package by package. npm keeps a record of what it installed in
 * node_modules and writes it last, so an installation that broke off is found too. A stamp of our own would not
 * notice an `npm install` by hand, and would throw away what it brought.
 * @returns {string | undefined} why the packages must be installed; undefined if all is well
 */
export function packagesTrouble(root, { needsDev = true } = {}) {
  const modules = join(root, 'node_modules');
  const installed = readPackages(join(modules, '.package-lock.json'));
  if (!installed) return existsSync(modules) ? 'node_modules is incomplete' : 'node_modules is missing';
  const locked = readPackages(join(root, 'package-lock.json'));
  if (!locked) return undefined; // nothing to compare with
  for (const [path, wanted] of Object.entries(locked)) {
    if (path === '' || wanted.link) continue;
    const has = installed[path];
    if (!has) {
      if (wanted.optional || wanted.devOptional || (wanted.dev && !needsDev)) continue;
      return `${path} is missing`;
    }
    if (has.version !== wanted.version) return `${path} is not the version of package-lock.json`;
  }
  const { dependencies = {}, devDependencies = {} } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  );
  const direct = Object.keys(needsDev ? { ...dependencies, ...devDependencies } : dependencies);
  const lost = direct.find((name) => !existsSync(join(modules, name, 'package.json')));
  return lost && `node_modules/${lost} is missing`;
}

/** `npm ci`, with the record of the last installation taken away first: if this one breaks off, the next run knows. */
export async function installPackages(root, program, trouble, onStart) {
  say(`${trouble}: installing the packages (npm ci), some 20 s`);
  const begun = Date.now();
  rmSync(join(root, 'node_modules', '.package-lock.json'), { force: true });
  const purpose = 'the packages could not be installed: connect to the network and try again';
  await npm(['ci', '--include=dev', '--include=optional'], { program, cwd: root, purpose, onStart });
  say(`packages installed in ${Math.round((Date.now() - begun) / 1000)} s`);
}

function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages;
  } catch {
    return undefined; // not there, or cut off while it was written: either way no record
  }
}
